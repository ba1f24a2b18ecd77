"""The links between a client and a registry, tried in the order of a pull, each with what the host really uses."""

from __future__ import annotations

import base64
import contextlib
import errno
import glob
import http.client
import json
import os
import pwd
import re
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import api
from .addresses import is_inner, source_of
from .auth_files import CONTAINERS, PLACES, Docker, as_user, find_user, in_file
from .client_tools import faults
from .client_trust import Containerd
from .containers import ApiConnection
from .engine import Engine, running_engine
from .engine_faults import DAEMON_JSON, config_fault, stopped_fault
from .errors import WharfError
from .files import read_json
from .manifests import blobs, walk
from .parts import DENIED, PLAIN_HTTP
from .processes import has, run
from .proxies import file_with_proxy, proxy_for
from .references import spellings
from .text import one_line, without_logins

DOCKER_CERTS = "/etc/docker/certs.d"
# Without a Docker engine: what podman, skopeo and buildah read, and containerd's usual place.
OTHER_CERTS = ("/etc/containers/certs.d", DOCKER_CERTS, "/etc/containerd/certs.d")
# Go, and so every container tool, reads the first of these that is there.
SYSTEM_STORES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
ENGINE_TIMEOUT = 10  # seconds, for what it knows by itself
PULL_TIMEOUT = 20  # seconds: the tools try some things twice
CONTENTS_TIMEOUT = 30  # seconds without a byte
MOST_BYTES = 64 * 1024 * 1024  # of an image that nobody has named
SMALL_PACKET = 500  # bytes
# A registry's answer holds a repository's name, whatever its length: request and answer fill whole packets, also where
# TLS begins with small ones, as Go's does.
LONG_PATH = f"/v2/{'wharf-diagnosis/' * 400}none/tags/list"
MOST_DIRECTORIES = 50  # each costs a handshake
# By OpenSSL's numbers for what is wrong with a certificate (openssl/x509_vfy.h); for all others the CA is unknown.
CERTIFICATE_FAULTS = {9: "not_yet_valid", 10: "expired", 62: "wrong_name", 64: "wrong_name"}


class BrokenError(WharfError):
    """A link is broken: a code of plugin_utils/verdicts.yml, and the details that its texts name."""

    def __init__(self, code: str, **details: Any) -> None:
        """Take the code and the details."""
        super().__init__(code)
        self.code = code
        self.details = details


def plain(text: object, length: int = 300) -> str:
    """Return a text for a message: one line, without the credentials of URLs, not too long."""
    return one_line(without_logins(str(text)), length)


def split_image(image: str) -> tuple[str, str]:
    """Return the repository and the tag or digest of an image without the registry's name."""
    repository, _, digest = image.partition("@")
    repository, _, tag = repository.partition(":")
    return repository, digest or tag or "latest"


def ca_files(directory: str) -> list[str]:
    """Return the files in a registry's directory that hold CA certificates for the tools which read it."""
    files = sorted(glob.glob(f"{glob.escape(directory.rstrip('/'))}/*.crt"))
    with contextlib.suppress(OSError):
        hosts = Path(directory, "hosts.toml").read_text("utf-8")
        for line in re.findall(r"^\s*ca\s*=\s*(.+)$", hosts, re.MULTILINE):
            files += [os.path.join(directory, path) for path in re.findall(r'"([^"]+)"', line)]
    return list(dict.fromkeys(file for file in files if os.path.isfile(file)))


def trust_files(files: list[str], system: bool = True) -> ssl.SSLContext:
    """Return what trusts these files and the system's store; the tools skip files without certificates, too."""
    context = api.trust()
    stores = [store for store in SYSTEM_STORES if os.path.isfile(store)][:1] if system else []
    for file in [*files, *stores]:
        with contextlib.suppress(OSError):
            context.load_verify_locations(cafile=file)
    return context


def is_unknown_issuer(error: api.CertificateError | None) -> bool:
    """Tell whether this says that the certificate's chain leads to none of the CAs."""
    return error is not None and error.code not in CERTIFICATE_FAULTS


class ClientEngine:
    """The Docker engine of this host: whether it runs, and how it reaches the registry in its own way."""

    def __init__(self, module: Any, warn: Callable[..., None]) -> None:
        """Take the AnsibleModule, and what keeps a warning."""
        self.module, self.warn = module, warn
        self.registry = f"{module.params['name']}:{module.params['port']}"
        self.tls: bool = module.params["tls"]
        self.running: Engine | None = None
        self.document: dict = {}
        self.proxy = self.no_proxy = ""

    def check(self) -> None:
        """Check that the engine runs, if there is one, and that it would start again."""
        if not has("dockerd"):
            return
        self.running = running_engine()
        if not self.running:
            code, details = stopped_fault(self.module)
            raise BrokenError(code, **details)
        self.document, fault = config_fault(self.running.argv)
        if fault:
            self.warn(f"{fault[0]}_later", **fault[1])
        info = self.ask("/info", ENGINE_TIMEOUT)
        if info.get("late"):
            raise BrokenError("engine_hangs", seconds=ENGINE_TIMEOUT)
        self.no_proxy = info.get("NoProxy", "")
        names = {"HttpProxy": "HTTP_PROXY", "HttpsProxy": "HTTPS_PROXY", "NoProxy": "NO_PROXY"}
        environment = {variable: info.get(name, "") for name, variable in names.items()}
        self.proxy = plain(proxy_for(environment, self.module.params["name"], self.module.params["port"], self.tls))

    def ask(self, path: str, timeout: float, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Return the engine's answer; where it cannot be asked, an error in the form of its own."""
        socket_path = self.running.socket_path(self.document) if self.running else None
        connection = ApiConnection(socket_path or "/run/docker.sock", timeout)
        try:
            connection.request("GET", path, headers=headers or {})
            return json.loads(connection.getresponse().read())
        except socket.timeout:
            return {"message": f"the engine gave no answer within {timeout} s", "late": True}
        except (OSError, ValueError, http.client.HTTPException) as error:
            return {"message": f"the engine cannot be asked: {error}"}
        finally:
            connection.close()

    def error(self) -> str:
        """Return what keeps the engine from the registry, as it says itself; empty when it gets through.

        It asks for a repository that does not exist: only the registry itself can tell that it is unknown.
        """
        headers = {}
        for user in self.module.params["users"][:1]:
            login = {"username": user["name"], "password": user["password"], "serveraddress": self.registry}
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(login).encode()).decode()
        answer = self.ask(f"/distribution/{self.registry}/wharf-diagnosis/none:none/json", PULL_TIMEOUT, headers)
        message = str(answer.get("message", ""))
        if re.search(rf"(manifest|name) unknown|repository name not known|not found$|{DENIED}", message):
            return ""
        # An engine that may speak plain HTTP there (insecure-registries, localhost) tries that after such an answer.
        if self.tls and PLAIN_HTTP in message:
            return ""
        return plain(message)

    def check_registry(self) -> None:
        """Check that the engine reaches the registry, which everything else on this host does."""
        output = self.error() if self.running else ""
        if not output:
            return
        if "server gave HTTP response to HTTPS client" in output and not self.tls:
            raise BrokenError("insecure_not_allowed", output=output)
        # Without a proxy the engine goes the way that was good until here, but for what it has in files of its own.
        if self.proxy and "client certificate" not in output:
            note = f" (except for {self.no_proxy})" if self.no_proxy else ""
            source = self.proxy_source()
            raise BrokenError("proxy", proxy=self.proxy, no_proxy_note=note, source=source, output=output)
        is_trust = "x509" in output or "certificate" in output
        raise BrokenError("engine_trust" if is_trust else "engine_fails", output=output)

    def proxy_source(self) -> str:
        """Return the file in which the engine's proxy is set; empty where it is not found."""
        if "proxies" in self.document:
            return DAEMON_JSON
        drop_ins = [f"{base}/systemd/system/docker.service.d/*.conf" for base in ("/etc", "/run", "/usr/lib", "/lib")]
        return file_with_proxy(*drop_ins, "/etc/default/docker", "/etc/environment")


class Contents:
    """Reads one image and compares it with its digests. Keeps nothing."""

    def __init__(self, client: api.Client, image: str) -> None:
        """Take the image, empty for the first of the catalogue, of which only so much is read."""
        self.client, self.image = client, image
        self.left = float("inf") if image else MOST_BYTES
        self.repository = ""
        self.part = "catalogue"  # what is being read

    def compare(self) -> None:
        """Compare. Raises BrokenError or RegistryError where something is not as it should be."""
        self.repository, reference = split_image(self.image) if self.image else self.first_image()
        if not self.repository:
            return
        self.image = self.image or f"{self.repository}:{reference}"
        try:
            first = self.manifest(reference)
        except api.NotFoundError:
            raise BrokenError("image_missing", image=self.image) from None
        known = {first.digest: first}
        documents = walk(first.digest, lambda digest: (known.get(digest) or self.manifest(digest)).document)
        found = {blob["digest"]: blob for _, document in documents for blob in blobs(document)}
        for digest, blob in found.items():
            if not blob.get("urls"):
                self.blob(digest, int(blob.get("size") or 0))

    def first_image(self) -> tuple[str, str]:
        """Return the first repository that has a tag, and the tag; ("", "") where the registry is empty."""
        catalogue = self.client.request("GET", "/v2/_catalog?n=50").document()
        for repository in catalogue.get("repositories") or []:
            with contextlib.suppress(api.StatusError):
                if tags := self.client.request("GET", f"/v2/{repository}/tags/list").document().get("tags"):
                    return repository, min(tags)
        return "", ""

    def manifest(self, reference: str) -> api.Manifest:
        """Read and compare a manifest or index."""
        self.part = f"manifest {reference}"
        manifest = self.client.manifest(self.repository, reference)
        self.left -= len(manifest.content)
        return manifest

    def blob(self, digest: str, size: int) -> None:
        """Read and compare a blob, unless it is too large, or elsewhere, in an object store."""
        if size > self.left:
            return
        self.part, length = f"layer {digest}", 0
        try:
            for part in self.client.blob(self.repository, digest):
                length += len(part)
        except api.StatusError as error:
            if error.status not in (302, 303, 307):
                raise
        except (api.DigestError, api.NoResponseError) as error:
            if size and not length and not isinstance(error.__cause__, socket.timeout):
                # The registry still knows the size, but the content is gone.
                raise BrokenError("blob_missing", image=self.image, what=self.part) from error
            raise
        self.left -= length


class SmallPackets(api.Client):
    """A client whose connection has small packets only, in both directions."""

    def open_socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        try:
            sock.settimeout(self.timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_PACKET)
            sock.connect((self.address, self.port))
        except OSError:
            sock.close()
            raise
        return sock


class Links:
    """One walk along the links, up to the first that is broken: each check raises BrokenError or RegistryError."""

    def __init__(self, module: Any) -> None:
        """Take the AnsibleModule."""
        self.params = module.params
        self.name: str = module.params["name"]
        self.port: int = module.params["port"]
        self.tls: bool = module.params["tls"]
        self.registry = f"{self.name}:{self.port}"
        self.engine = ClientEngine(module, self.warn)
        self.addresses: list[str] = []
        self.address = self.source = ""  # the registry's, and that of this host, from which it reaches it
        self.response: api.Response | None = None  # to a request without a user
        self.served = b""  # the certificate
        self.logins: dict[str, str] = {}  # the passwords of those who are logged in here
        self.context: ssl.SSLContext | None = None  # what verifies it
        self.warnings: list[dict[str, Any]] = []

    def walk(self) -> dict[str, Any]:
        """Try the links. Returns the module's result."""
        behind_proxy = (self.resolve, self.connect, self.check_protocol)
        later = (
            self.authenticate,
            self.check_logins,
            self.engine.check_registry,
            self.check_tools,
            self.check_access,
            self.check_contents,
        )
        found = BrokenError("ok")
        for check in (self.engine.check, *behind_proxy, self.check_certificate, *later):
            try:
                check()
                continue
            except BrokenError as broken:
                found = broken
            except api.RegistryError as error:
                found = BrokenError("connection_reset", address=self.address, output=plain(error.__cause__ or error))
            # The engine decides where it goes another way: through a proxy, or without verifying the certificate.
            has_other_way = check == self.check_certificate or (self.engine.proxy and check in behind_proxy)
            if self.engine.running and has_other_way and not self.engine.error():
                self.warn("engine_gets_through", otherwise=found.code)
                found = BrokenError("ok")
            break
        return {
            "changed": False,
            "code": found.code,
            "details": found.details,
            "warnings_found": self.warnings,
            "addresses": self.addresses,
            "source": self.source,
            "certificate": ssl.DER_cert_to_PEM_cert(self.served) if self.served else "",
            "clock": time.time(),
        }

    def warn(self, code: str, **details: Any) -> None:
        """Keep what breaks nothing yet."""
        self.warnings.append({"code": code, "details": details})

    def client(self, context: ssl.SSLContext | None, timeout: float = 0, **login: str) -> api.Client:
        """Return a client of the address that answered; a login is its user and password."""
        timeout = timeout or self.params["timeout"]
        return api.Client(self.name, self.port, context, address=self.address, timeout=timeout, **login)

    # Name and port ------------------------------------------------------------------------------------------------

    def resolve(self) -> None:
        """Check that the name resolves."""
        try:
            found = socket.getaddrinfo(self.name, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise BrokenError("unresolved", reason=plain(getattr(error, "strerror", None) or error)) from error
        self.addresses = list(dict.fromkeys(entry[4][0] for entry in found))

    def connect(self) -> None:
        """Check that the port is open at each address, and go on with the first that is."""
        failures: dict[str, dict[str, Any]] = {}
        for address in self.addresses:
            try:
                with socket.create_connection((address, self.port), timeout=self.params["timeout"]) as raw:
                    self.address, self.source = address, raw.getsockname()[0]
                break
            except OSError as error:
                code = "refused" if error.errno == errno.ECONNREFUSED else "filtered"
                late = f"no answer within {self.params['timeout']} s" if isinstance(error, socket.timeout) else ""
                failures.setdefault(code, {"address": address, "reason": late or plain(error.strerror or error)})
        # One address that refuses says more than one that does not answer.
        code = "refused" if "refused" in failures else "filtered"
        if self.address:
            # The tools try one address after another, too, but wait for each that does not answer.
            if "filtered" in failures:
                self.warn("address_dead", answers=self.address, **failures["filtered"])
            return
        address = failures[code]["address"]
        self.source = source_of(address, self.port)
        device = route_device(address)
        if self.source != address and device != "lo" and is_inner(device):
            raise BrokenError("route_inner", device=device, target=f"the registry ({address})")
        raise BrokenError(code, **failures[code])

    # Protocol -----------------------------------------------------------------------------------------------------

    def ask(self, context: ssl.SSLContext | None, **login: str) -> api.Response:
        """Return the answer to the request with which every client begins, over a new connection."""
        with self.client(context, **login) as client:
            return client.request("GET", "/v2/")

    def check_protocol(self) -> None:
        """Check that a registry answers, with TLS or without as it should, and also to what fills large packets."""
        context = api.trust_nothing() if self.tls else None
        with self.client(context) as client:
            try:
                response = client.request("GET", "/v2/")
            except api.RegistryError as error:
                self.try_other_protocol(error)
                return
            if not self.tls and speaks_https(response):
                raise BrokenError("https_for_http", address=self.address)
            if not response.is_registry():
                raise self.not_registry(response)
            if response.status not in (200, 401):
                raise unhealthy(response)
            self.response = response
            self.check_large_packets(context)
            self.check_health(client)

    def check_health(self, client: api.Client) -> None:
        """Check that a registry answers behind the gateway, which itself asks everybody for a password."""
        try:
            response = client.request("GET", "/health")
        except api.RegistryError as error:
            if not is_late(error):
                raise
            raise BrokenError("registry_away") from error
        if response.is_registry() and response.status in (429, 503):
            raise unhealthy(response)

    def check_large_packets(self, context: ssl.SSLContext | None, **login: str) -> None:
        """Check that what fills large packets is answered; a login is a user, whom the registry itself answers."""
        try:
            with self.client(context, **login) as client:
                client.request("GET", LONG_PATH)
        except api.RegistryError as error:  # what refuses such a path answers nevertheless
            if is_late(error):
                self.check_small_packets(context, **login)

    def check_small_packets(self, context: ssl.SSLContext | None, **login: str) -> None:
        """Check that small packets get no further than others. Raises BrokenError."""
        timeout = self.params["timeout"]
        small = SmallPackets(self.name, self.port, context, address=self.address, timeout=timeout, **login)
        with contextlib.suppress(api.RegistryError), small as client:
            client.request("GET", LONG_PATH)
            raise BrokenError("large_packets", address=self.address, device=route_device(self.address))

    def try_other_protocol(self, error: api.RegistryError) -> None:
        """Find out what answers instead of a registry with the right protocol. Raises BrokenError, or the error."""
        cause = error.__cause__ or error
        if is_late(error):
            self.check_small_packets(api.trust_nothing() if self.tls else None)
        with contextlib.suppress(api.RegistryError):
            response = self.ask(None if self.tls else api.trust_nothing())
            if self.tls and speaks_https(response):
                raise BrokenError("connection_reset", address=self.address, output=plain(cause)) from error
            if not response.is_registry():
                raise self.not_registry(response)
            raise BrokenError("http_for_https" if self.tls else "https_for_http", address=self.address)
        greeting = self.greeting()
        if not greeting and is_late(error):
            raise BrokenError("no_response", address=self.address, timeout=self.params["timeout"]) from error
        raise BrokenError("not_http", address=self.address, output=greeting or plain(cause)) from error

    def not_registry(self, response: api.Response) -> BrokenError:
        """Return the fault that something else answers."""
        server = plain(response.headers.get("Server", ""), 80)
        return BrokenError("not_registry", address=self.address, status=response.status, server_header=server)

    def greeting(self) -> str:
        """Return what a server sends by itself (SSH, mail, databases); empty when it waits for a request."""
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), timeout=1) as raw:
            return plain(raw.recv(100).decode("utf-8", "replace"), 80)
        return ""

    # Certificates -------------------------------------------------------------------------------------------------

    def check_certificate(self) -> None:
        """Check the certificate against the name, and the CA certificates that this host's container tools read."""
        if not self.tls:
            return
        with self.client(api.trust_nothing()) as client:
            self.served = client.certificate()
        directories = [f"{base}/{self.registry}" for base in self.bases()]
        files = [file for directory in directories for file in ca_files(directory)]
        context = trust_files(files)
        error = self.verify(context)
        if error is None:
            self.context = context
            return
        if error.code in CERTIFICATE_FAULTS:
            raise BrokenError(CERTIFICATE_FAULTS[error.code])
        details = {"directory": directories[0], "files": files, "output": plain(error).rpartition(": ")[2]}
        if misplaced := self.misplaced(directories):
            raise BrokenError("ca_misplaced", found=misplaced, **details)
        if self.is_unknown_to_server():
            raise BrokenError("ca_unknown", **details)
        raise BrokenError("ca_wrong" if files else "ca_missing", **details)

    def bases(self) -> list[str]:
        """Return the directories in which this host's container tools find CA certificates by registry."""
        if self.engine.running:
            return [DOCKER_CERTS]
        chosen = Containerd(True).config_path if has("containerd") else ""
        bases = dict.fromkeys([*OTHER_CERTS, *([chosen] if chosen else [])])
        return [base for base in bases if os.path.isdir(base)] or [OTHER_CERTS[0]]

    def verify(self, context: ssl.SSLContext) -> api.CertificateError | None:
        """Return what this context has against the certificate; None when it is content."""
        try:
            with self.client(context) as client:
                client.certificate()
        except api.CertificateError as error:
            return error
        return None

    def misplaced(self, right: list[str]) -> str:
        """Return a directory whose CA would do if it were spelled as the registry is; empty where there is none."""
        directories = [str(path) for base in self.bases() for path in sorted(Path(base).glob("**/"))]
        for directory in [one for one in directories if one not in right and ca_files(one)][:MOST_DIRECTORIES]:
            if not is_unknown_issuer(self.verify(trust_files(ca_files(directory), system=False))):
                return directory
        return ""

    def is_unknown_to_server(self) -> bool:
        """Tell whether not even the CA of the registry's server signed the certificate."""
        with contextlib.suppress(WharfError):
            context = api.trust(pem=self.params["ca"])
            return bool(self.params["ca"]) and is_unknown_issuer(self.verify(context))
        return False

    # Users --------------------------------------------------------------------------------------------------------

    def authenticate(self) -> None:
        """Check that the registry accepts its users."""
        users, response = self.params["users"], self.response
        if response.headers.get("WWW-Authenticate", "").startswith("Bearer"):
            return  # a token server decides, which is not this registry's business
        if not users and response.status == 401:
            raise BrokenError("password_required")
        if users and response.status == 200:
            self.warn("anonymous")
        for user in sorted(users, key=lambda one: not one["password"]):
            if not user["password"]:
                raise BrokenError("password_unknown", user=user["name"])
            if not self.accepts(user["name"], user["password"]):
                raise BrokenError("password_refused", user=user["name"])
        if users:
            self.check_large_packets(self.context, user=users[0]["name"], password=users[0]["password"])

    def accepts(self, user: str, password: str) -> bool:
        """Tell whether the registry accepts a user with this password. Raises BrokenError where it cannot tell."""
        try:
            response = self.ask(self.context, user=user, password=password)
        except api.RegistryError as error:
            raise BrokenError("unhealthy", output=plain(error)) from error
        if response.status not in (200, 401):
            raise unhealthy(response)
        return response.status == 200

    def check_logins(self) -> None:
        """Check that the system users who should be logged in are, with passwords that are good."""
        has_tool = self.engine.running or any(map(has, CONTAINERS))
        for name in self.params["logins"] if has_tool else []:
            user = find_user(name)
            # A user who may not use the engine has only the second, a host with Docker alone only the first.
            found = [self.has_login(place(user.pw_dir, self.registry), user) for place in PLACES.values() if user]
            if not any(found):
                raise BrokenError("login_missing", user=name)

    def has_login(self, tool: Docker, user: pwd.struct_passwd) -> bool:
        """Tell whether a system user has a login for the registry. Raises BrokenError where it is refused."""
        try:
            login, helpers = as_user(user, lambda: (in_file(read_json(tool.path), self.registry), tool.helpers()))
        except WharfError:  # no home, say
            return False
        # A store is the user's own, and we do not open it.
        if login and not helpers:
            if not self.accepts(*login):
                raise BrokenError("login_refused", user=user.pw_name, path=tool.path)
            self.logins[login[0]] = login[1]
        return bool(login or helpers)

    def check_tools(self) -> None:
        """Check that each tool gets through when its users use it."""
        for code, details in faults(self.params["tools"], self.params["logins"], self.registry, self.params["tls"]):
            if code != "policy_signed":
                raise BrokenError(code, **details)
            self.warn("policy_signed", **details)

    # Contents -----------------------------------------------------------------------------------------------------

    def image(self) -> str:
        """Return the image that is asked about without the registry's name; empty for none."""
        image = self.params["image"]
        for own in spellings(self.name, self.port, self.tls):
            image = image[len(own) + 1 :] if image.startswith(f"{own}/") else image
        return image

    def check_access(self) -> None:
        """Check that the users who are logged in here may pull the image that is asked about."""
        image = self.image()
        repository, reference = split_image(image)
        for user, password in self.logins.items() if image else ():
            details = {"user": user, "image": image, "repository": repository}
            with self.client(self.context, user=user, password=password) as client:
                if client.request("HEAD", f"/v2/{repository}/manifests/{reference}").status == 403:
                    raise BrokenError("image_denied", **details)
                # An upload that does not exist: whoever may push is told so, and nothing changes.
                if client.request("GET", f"/v2/{repository}/blobs/uploads/none").status == 403:
                    self.warn("push_denied", **details)

    def check_contents(self) -> None:
        """Check that what the registry delivers has the digest that it should have."""
        if not self.params["contents"]:
            return
        user = (self.params["users"] or [{"name": "", "password": ""}])[0]
        with self.client(self.context, CONTENTS_TIMEOUT, user=user["name"], password=user["password"]) as client:
            contents = Contents(client, self.image())
            try:
                contents.compare()
            except api.RegistryError as error:
                details = {"image": contents.image or self.registry, "what": contents.part}
                if isinstance(error, api.DigestError):
                    details["what"] = contents.part.split()[0]
                    raise BrokenError("digest", **details, expected=error.expected, found=error.found) from error
                if isinstance(error, api.NotFoundError):
                    raise BrokenError("blob_missing", **details) from error
                # Who may read a manifest may read its layers, too.
                if getattr(error, "status", 0) == 403 and contents.part.startswith("manifest"):
                    denied = {"user": user["name"], "image": contents.image, "repository": contents.repository}
                    raise BrokenError("image_denied", **denied) from error
                if not isinstance(error.__cause__, socket.timeout):
                    raise BrokenError("unreadable", output=plain(error), **details) from error
                # A large catalogue, or a slow disk: slow is not broken.
                self.warn("slow", what=contents.part, seconds=CONTENTS_TIMEOUT)


def is_late(error: api.RegistryError) -> bool:
    """Tell whether there was no answer in time."""
    return isinstance(error.__cause__, socket.timeout)


def route_device(address: str) -> str:
    """Return the interface through which this host reaches an address; empty where it knows none."""
    with contextlib.suppress(ValueError, LookupError, TypeError):
        return json.loads(run(["ip", "-json", "route", "get", address])[1])[0]["dev"]
    return ""


def speaks_https(response: api.Response) -> bool:
    """Tell whether this is what a server with TLS says to plain HTTP: Go's, or the gateway, in the same words."""
    return response.status == 400 and b"HTTPS server" in response.body


def unhealthy(response: api.Response) -> BrokenError:
    """Return the fault that a registry answers with an error."""
    if response.status == 429:
        return BrokenError("too_many_connections")
    if response.is_gateway_alone():
        return BrokenError("registry_away")
    output = f"HTTP status {response.status} {response.body.decode('utf-8', 'replace')}"
    return BrokenError("unhealthy", output=plain(output))
