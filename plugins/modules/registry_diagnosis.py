#!/usr/bin/python
"""Find the first broken link between a host and a registry."""

from __future__ import annotations

DOCUMENTATION = """
module: registry_diagnosis
short_description: Find the first broken link between this host and a registry
description:
  - Goes the way of a pull, link by link, and stops at the first that is broken. Each is tried with what the host
    really uses, so its resolver, the CA certificates that its container tools read, and at last the Docker engine
    itself, which asks the registry with its own trust and its own proxy.
  - Changes nothing; runs in check mode as well. An engine that does not run stays so, for not even its socket is
    touched, which could start it.
  - Without a Docker engine on the host its links are left out, and the CA certificates are those of podman,
    containerd and the system.
options:
  name:
    description: Name or address in image references.
    type: str
    required: true
  port:
    description: TCP port in image references.
    type: int
    required: true
  tls:
    description: Whether the registry is to speak TLS.
    type: bool
    default: true
  users:
    description: Users that the registry must let in; none when it asks for no password. One without a password is
      named as such.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The user's name.
        type: str
        required: true
      password:
        description: The user's password.
        type: str
        default: ""
  logins:
    description: System users of this host who are to be logged in to the registry.
    type: list
    elements: str
    default: []
  ca:
    description: The CA certificates of the registry's server in PEM, to tell whose the mistake is when the chain does
      not verify.
    type: str
    default: ""
  contents:
    description: Whether to compare an image in the registry with its digests.
    type: bool
    default: false
  image:
    description: The image to compare, C(repository:tag) or C(repository@digest), whatever its size. Without it the
      first image of the catalogue is taken, up to O(limit).
    type: str
    default: ""
  limit:
    description: How much of an image that was not named is read, in bytes.
    type: int
    default: 67108864
  timeout:
    description: How long to wait for a connection or an answer, in seconds.
    type: int
    default: 5
author: [Wharf maintainers]
"""

EXAMPLES = """
- name: Diagnose
  registry_diagnosis:
    name: registry.example.com
    port: 5000
    users: [{name: ci, password: "{{ password }}"}]
"""

RETURN = """
code:
  description: What is broken, a word; V(ok) when nothing is.
  type: str
  returned: always
details:
  description: What there is to say about it, by name.
  type: dict
  returned: always
held:
  description: The links that held.
  type: list
  elements: str
  returned: always
warnings_found:
  description: What is wrong but breaks no link yet, a list of C(code) and C(details).
  type: list
  elements: dict
  returned: always
addresses:
  description: What the name resolves to here.
  type: list
  elements: str
  returned: always
certificate:
  description: The certificate that is served, DER in Base64; empty where none was seen.
  type: str
  returned: always
clock:
  description: This host's clock, in seconds since 1970.
  type: float
  returned: always
compared:
  description: What was compared with its digests, C(image), C(bytes), and C(skipped), the number of blobs left out.
  type: dict
  returned: always
"""

import base64
import contextlib
import errno
import glob
import hashlib
import http.client
import ipaddress
import json
import os
import pwd
import re
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.auth_files import Containers, Docker, in_file, read_json
from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import parse, read_bytes
from ansible_collections.wharf.registry.plugins.module_utils.engine import (
    ApiConnection,
    Engine,
    engine_keys,
    flag_values,
    flags_of,
    idle_argv,
)
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

DAEMON_JSON = "/etc/docker/daemon.json"
DOCKER_CERTS = "/etc/docker/certs.d"
# Without a Docker engine: what podman, skopeo and buildah read, and containerd's usual place.
OTHER_CERTS = ("/etc/containers/certs.d", DOCKER_CERTS, "/etc/containerd/certs.d")
# Go, and so every container tool, looks into the first of these that is there.
SYSTEM_STORES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
ENGINE_TIMEOUT = 20  # seconds: the engine itself tries some things twice
CONTENTS_TIMEOUT = 30  # seconds without a byte
MOST_DIRECTORIES = 50  # each costs a handshake
MOST_BYTES = 16 * 1024 * 1024  # of a manifest or another answer that is kept in memory
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# OpenSSL's words for what a certificate lacks (openssl/x509_vfy.h).
NOT_YET_VALID, EXPIRED = 9, 10
WRONG_NAMES = (62, 64)
PARTIAL_CHAIN = 0x80000  # ssl.VERIFY_X509_PARTIAL_CHAIN, which Python has since 3.10


class Broken(Exception):
    """The link that is tried is broken: a word for how, and what there is to say about it."""

    def __init__(self, code: str, **details: Any) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


def short(text: object, length: int = 300) -> str:
    """Text for a message: one line, without the credentials of URLs, not too long."""
    line = " ".join(str(text).split())
    line = re.sub(r"//[^/@\s]+@", "//", line)
    return line if len(line) <= length else line[: length - 3] + "..."


def goes_through_proxy(host: str, port: int, no_proxy: str) -> bool:
    """Whether Go sends a request for host:port through a proxy that is set (golang.org/x/net/http/httpproxy)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address and address.is_loopback):
        return False
    for entry in (word.strip().lower() for word in no_proxy.split(",")):
        if entry == "*":
            return False
        name, colon, wanted_port = entry.rpartition(":")
        if colon and wanted_port.isdigit() and ":" not in name:
            if int(wanted_port) != port:
                continue
            entry = name
        if address is not None:
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(entry, strict=False):
                    return False
        elif entry and (host == entry.lstrip("*.") and not entry.startswith((".", "*.")) or _is_below(host, entry)):
            return False
    return True


def _is_below(host: str, domain: str) -> bool:
    return host.endswith("." + domain.lstrip("*."))


def split_image(image: str) -> tuple[str, str]:
    """The repository and the tag or digest of an image without the registry's name."""
    repository, at, digest = image.partition("@")
    if at:
        return repository.partition(":")[0], digest
    repository, _, tag = image.partition(":")
    return repository, tag or "latest"


class Answer:
    """The registry's answer to one request."""

    def __init__(self, response: http.client.HTTPResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    def is_registry(self) -> bool:
        """Whether a registry speaks; a sick one answers before it comes to its header."""
        if self.headers.get("Docker-Distribution-Api-Version", "").startswith("registry/2"):
            return True
        return self.status == 503 and b'"code":"UNAVAILABLE"' in self.body


class Diagnosis:
    """One walk along the links."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.name: str = module.params["name"]
        self.port: int = module.params["port"]
        self.tls: bool = module.params["tls"]
        self.registry = f"{self.name}:{self.port}"
        self.timeout: int = module.params["timeout"]
        self.engine: Engine | None = None
        self.document: dict = {}
        self.proxy = ""
        self.addresses: list[str] = []
        self.address = ""
        self.context: ssl.SSLContext | None = None
        self.certificate = b""
        self.first: Answer | None = None
        self.held: list[str] = []
        self.warnings: list[dict[str, Any]] = []
        self.compared: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Go the way. Returns the module's result."""
        code, details = "ok", {}
        try:
            for link in (
                "docker",
                "resolve",
                "connect",
                "speak",
                "trust",
                "let_in",
                "logged_in",
                "ask_engine",
                "compare",
            ):
                self.try_link(link)
        except Broken as broken:
            code, details = broken.code, broken.details
        return {
            "changed": False,
            "code": code,
            "details": details,
            "held": self.held,
            "warnings_found": self.warnings,
            "addresses": self.addresses,
            "certificate": base64.b64encode(self.certificate).decode(),
            "clock": time.time(),
            "compared": self.compared,
        }

    def try_link(self, link: str) -> None:
        """Try one link. Raises Broken."""
        try:
            getattr(self, link)()
        except (OSError, http.client.HTTPException) as error:
            raise Broken("broke_off", address=self.address, said=short(error)) from error
        except Broken as broken:
            # The engine decides where it goes another way than this module: through a proxy, or without asking for
            # a certificate (insecure-registries).
            goes_another_way = link == "trust" or (self.proxy and link in ("resolve", "connect", "speak"))
            if not (self.engine and goes_another_way and self.engine_gets_through()):
                raise
            self.warn("engine_gets_through", otherwise=broken.code)
            raise Broken("ok") from broken
        self.held.append(link)

    def warn(self, code: str, **details: Any) -> None:
        """Remember what breaks nothing yet."""
        self.warnings.append({"code": code, "details": details})

    # The engine -------------------------------------------------------------------------------------------------------

    def docker(self) -> None:
        """The engine runs, if there is one."""
        if not self.module.get_bin_path("dockerd", opt_dirs=["/usr/sbin", "/usr/local/bin"]):
            return
        self.engine = running_engine()
        argv = self.engine.argv if self.engine else idle_argv(self.module)
        path = (flag_values(argv, "config-file") or [DAEMON_JSON])[-1]
        try:
            self.document = parse(read_bytes(path) or b"", path)
        except WharfError as problem:
            self.engine_problem("json", reason=str(problem).replace(" Nothing was changed.", ""), path=path)
            return
        flags = flags_of(argv)
        for key in engine_keys(self.document):
            if key in flags:
                self.engine_problem("conflict", key=key, flag=flags[key], path=path)
                return
        if self.engine:
            self.find_proxy()
        else:
            raise Broken("engine_stopped", log=self.last_words())

    def engine_problem(self, kind: str, **details: Any) -> None:
        """Say what keeps the engine from starting: it is broken where it does not run, and a warning where it does."""
        if not self.engine:
            raise Broken(f"engine_{kind}", **details)
        self.warn(f"engine_{kind}_later", **details)
        self.find_proxy()

    def last_words(self) -> str:
        """Why the engine did not start the last time, in its own words; empty where its log does not say."""
        journalctl = self.module.get_bin_path("journalctl")
        if not journalctl:
            return ""
        command = [journalctl, "--unit=docker.service", "--lines=100", "--output=cat", "--no-pager"]
        _rc, log, _err = self.module.run_command(command)
        words = ""
        for line in log.splitlines():
            if "API listen on" in line:
                words = ""  # then it did start
            elif "failed to start daemon" in line or "unable to configure the Docker daemon" in line:
                words = line
        return short(words)

    def ask(self, path: str) -> tuple[int, Any]:
        """Ask the engine. Returns status and document; a document with "message" alone is an error."""
        connection = ApiConnection(self.engine.socket_path(self.document) or "/run/docker.sock", ENGINE_TIMEOUT)
        try:
            headers = {}
            if path.startswith("/distribution/") and self.params["users"]:
                user = self.params["users"][0]
                login = {"username": user["name"], "password": user["password"], "serveraddress": self.registry}
                headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(login).encode()).decode()
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read(MOST_BYTES) or b"{}")
        except socket.timeout:
            return 0, {"message": f"the engine gave no answer within {ENGINE_TIMEOUT} s"}
        except (OSError, ValueError, http.client.HTTPException) as error:
            return 0, {"message": f"the engine cannot be asked: {error}"}
        finally:
            connection.close()

    def find_proxy(self) -> None:
        """Learn which proxy the engine uses for this registry."""
        status, info = self.ask("/info")
        proxy = info.get("HttpsProxy" if self.tls else "HttpProxy", "") if status == 200 else ""
        if proxy and goes_through_proxy(self.name, self.port, info.get("NoProxy", "")):
            self.proxy = short(proxy)

    def proxy_source(self) -> str:
        """The file in which the engine's proxy is set; empty where it is not found."""
        if "proxies" in self.document:
            return DAEMON_JSON
        places = [
            place
            for base in ("/etc", "/run", "/usr/lib", "/lib")
            for place in sorted(glob.glob(f"{base}/systemd/system/docker.service.d/*.conf"))
        ]
        for place in [*places, "/etc/default/docker", "/etc/environment"]:
            with contextlib.suppress(OSError), open(place, encoding="utf-8", errors="replace") as file:
                if re.search(r"^[^#]*https?_proxy", file.read(), re.IGNORECASE | re.MULTILINE):
                    return place
        return ""

    def engine_says(self) -> str:
        """What keeps the engine from the registry, in its own words; empty when it gets through.

        It looks for a repository that is not there: that it is unknown is the registry's own word.
        """
        status, answer = self.ask(f"/distribution/{self.registry}/wharf-diagnosis/none:none/json")
        message = str(answer.get("message", ""))
        if status == 200 or re.search(r"(manifest|name) unknown|repository name not known|not found$", message):
            return ""
        # An engine that may speak plain HTTP there (insecure-registries, localhost) tries that after such an answer.
        if self.tls and "Client sent an HTTP request to an HTTPS server" in message:
            return ""
        return short(message or f"status {status}")

    def engine_gets_through(self) -> bool:
        """Whether the engine itself reaches the registry."""
        return not self.engine_says()

    def ask_engine(self) -> None:
        """The engine reaches the registry, in its own way."""
        if not self.engine:
            return
        said = self.engine_says()
        if not said:
            return
        if self.proxy:
            raise Broken("proxy", proxy=self.proxy, source=self.proxy_source(), said=said)
        if "server gave HTTP response to HTTPS client" in said and not self.tls:
            raise Broken("insecure_unknown", said=said)
        raise Broken("engine_trust" if "x509" in said or "certificate" in said else "engine_fails", said=said)

    # Name and port ----------------------------------------------------------------------------------------------------

    def resolve(self) -> None:
        """The name resolves."""
        try:
            found = socket.getaddrinfo(self.name, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Broken("name", reason=short(getattr(error, "strerror", None) or error)) from error
        self.addresses = list(dict.fromkeys(entry[4][0] for entry in found))

    def connect(self) -> None:
        """The port is open."""
        failures = {}
        for address in self.addresses:
            try:
                socket.create_connection((address, self.port), timeout=self.timeout).close()
            except socket.timeout:
                failures.setdefault("filtered", (address, f"no answer within {self.timeout} s"))
            except OSError as error:
                kind = "refused" if error.errno == errno.ECONNREFUSED else "filtered"
                failures.setdefault(kind, (address, short(error.strerror or error)))
            else:
                self.address = address
                return
        # One address that refuses says more than one that keeps silent.
        code = "refused" if "refused" in failures else "filtered"
        address, reason = failures[code]
        raise Broken(code, address=address, reason=reason)

    # Who speaks there -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def connection(self, tls: bool, context: ssl.SSLContext | None = None) -> Iterator[http.client.HTTPConnection]:
        """A connection to the address that answered; without a context any certificate will do. Raises OSError."""
        raw = socket.create_connection((self.address, self.port), timeout=self.timeout)
        try:
            if tls:
                raw = (context or unverified()).wrap_socket(raw, server_hostname=self.name)
            connection = http.client.HTTPConnection(self.name, self.port, timeout=self.timeout)
            connection.auto_open = 0
            connection.sock = raw
            yield connection
        finally:
            raw.close()

    def get(self, path: str, login: str = "", tls: bool | None = None) -> Answer:
        """GET once on a new connection. Raises OSError, or HTTPException where no HTTP is spoken."""
        tls = self.tls if tls is None else tls
        if login and tls and not self.context:
            raise RuntimeError("no password goes to a server whose certificate was not verified")
        with self.connection(tls, self.context) as connection:
            connection.request("GET", path, headers=basic(login))
            response = connection.getresponse()
            return Answer(response, response.read(MOST_BYTES))

    def speak(self) -> None:
        """A registry speaks there, and with TLS or without as it should."""
        try:
            answer = self.get("/v2/")
        except (OSError, http.client.HTTPException) as error:
            self.speaks_otherwise(error)
            return
        # Go's servers say so in plain HTTP.
        if not self.tls and answer.status == 400 and b"HTTPS server" in answer.body:
            raise Broken("https_for_http", address=self.address)
        self.first = answer
        if answer.is_registry() and answer.status in (200, 401):
            return
        if answer.is_registry():
            raise Broken("unhealthy", status=answer.status, said=short(answer.body.decode("utf-8", "replace")))
        self.not_a_registry(answer)

    def speaks_otherwise(self, error: Exception) -> None:
        """Say what speaks there instead of what should. Raises Broken."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = self.get("/v2/", tls=not self.tls)
            if not answer.is_registry() and not (self.tls and answer.status == 400 and b"HTTPS" in answer.body):
                self.not_a_registry(answer)
            raise Broken("http_for_https" if self.tls else "https_for_http", address=self.address)
        said = self.greeting()
        if not said and isinstance(error, socket.timeout):
            raise Broken("silent", address=self.address, timeout=self.timeout) from error
        raise Broken("not_http", address=self.address, said=said or short(error)) from error

    def not_a_registry(self, answer: Answer) -> None:
        """Say what is there instead. Raises Broken."""
        server = short(answer.headers.get("Server", ""), 80)
        raise Broken("not_registry", address=self.address, status=answer.status, server_header=server)

    def greeting(self) -> str:
        """What a server says by itself (SSH, mail, databases); empty when it waits to be asked."""
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), timeout=1) as raw:
            return short(raw.recv(100).decode("utf-8", "replace"), 80)
        return ""

    # Certificates -----------------------------------------------------------------------------------------------------

    def trust(self) -> None:
        """The certificate proves the name against the CA certificates that this host's container tools read."""
        if not self.tls:
            return
        with self.connection(tls=True) as connection:
            self.certificate = connection.sock.getpeercert(binary_form=True) or b""
        directories = [f"{base}/{self.registry}" for base in self.bases()]
        files = [file for directory in directories for file in ca_files(directory)]
        context = verifying(files)
        error = self.verify(context)
        if error is None:
            self.context = context
            return
        if error.verify_code in (EXPIRED, NOT_YET_VALID):
            raise Broken("expired" if error.verify_code == EXPIRED else "not_yet_valid")
        if error.verify_code in WRONG_NAMES:
            raise Broken("wrong_name")
        details = {"directory": directories[0], "files": files, "said": short(error.verify_message)}
        misplaced = self.misplaced(directories)
        if misplaced:
            raise Broken("ca_misplaced", found=misplaced, **details)
        ca = self.params["ca"]
        if ca and self.is_unknown_issuer(self.verify(verifying([], ca))):
            # Not even the server's own CA signed it.
            raise Broken("ca_foreign", **details)
        raise Broken("ca_wrong" if files else "ca_missing", **details)

    def bases(self) -> list[str]:
        """The directories in which this host's container tools look for CA certificates by registry."""
        if self.engine:
            return [DOCKER_CERTS]
        return [base for base in OTHER_CERTS if os.path.isdir(base)] or [OTHER_CERTS[0]]

    def verify(self, context: ssl.SSLContext) -> ssl.SSLCertVerificationError | None:
        """What this context has against the certificate; None when it is content."""
        try:
            with self.connection(tls=True, context=context):
                return None
        except ssl.SSLCertVerificationError as error:
            return error

    @staticmethod
    def is_unknown_issuer(error: ssl.SSLCertVerificationError | None) -> bool:
        """Whether this says that the chain of the certificate leads to none of the CAs."""
        return error is not None and error.verify_code not in (EXPIRED, NOT_YET_VALID, *WRONG_NAMES)

    def misplaced(self, right: list[str]) -> str:
        """A directory whose CA would do, were it spelled as the registry is; empty where there is none."""
        directories = [
            directory.rstrip("/")
            for base in self.bases()
            for directory in sorted(glob.glob(f"{glob.escape(base)}/**/", recursive=True))
        ]
        for directory in [one for one in directories if one not in right and ca_files(one)][:MOST_DIRECTORIES]:
            if not self.is_unknown_issuer(self.verify(verifying(ca_files(directory), system=False))):
                return directory
        return ""

    # Users ------------------------------------------------------------------------------------------------------------

    def let_in(self) -> None:
        """The registry lets its users in."""
        if self.first and self.first.headers.get("WWW-Authenticate", "").startswith("Bearer"):
            return  # a token server decides, which is not this registry's business
        users = self.params["users"]
        if not users and self.first and self.first.status == 401:
            raise Broken("users_wanted")
        if users and self.first and self.first.status == 200:
            self.warn("open")
        for user in sorted(users, key=lambda one: not one["password"]):
            if not user["password"]:
                raise Broken("password_unknown", user=user["name"])
            if not self.accepts(f"{user['name']}:{user['password']}"):
                raise Broken("password", user=user["name"])

    def accepts(self, login: str) -> bool:
        """Whether the registry lets this name:password in. Raises Broken where it gives another answer."""
        try:
            answer = self.get("/v2/", login)
        except (OSError, http.client.HTTPException) as error:
            raise Broken("unhealthy", status=0, said=short(error)) from error
        if answer.status not in (200, 401):
            raise Broken("unhealthy", status=answer.status, said=short(answer.body.decode("utf-8", "replace")))
        return answer.status == 200

    def logged_in(self) -> None:
        """The system users who are to be logged in are, with passwords that are good."""
        tools = [tool for tool in ("podman", "buildah", "skopeo") if shutil.which(tool)]
        for user in self.params["logins"] if self.engine or tools else []:
            try:
                home = pwd.getpwnam(user).pw_dir
            except KeyError as error:
                raise Broken("login_missing", user=user) from error
            # A user without the right to use the engine has only the second, a host with Docker alone only the first.
            found = [self.logged_in_by(place(home, self.registry), user) for place in (Docker, Containers)]
            if not any(found):
                raise Broken("login_missing", user=user)

    def logged_in_by(self, place: Docker, user: str) -> bool:
        """Whether a system user has a login for the registry there. Raises Broken where it is no good."""
        document = read_json(place.path)
        if document.get("credsStore") or self.registry in (document.get("credHelpers") or {}):
            return True  # a store of the user's own, which is not for us to open
        login = in_file(document, self.registry)
        if login and not self.accepts(":".join(login)):
            raise Broken("login_refused", user=user, path=place.path)
        return bool(login or place.helpers())

    # Contents ---------------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """What the registry gives out has the digest that it says."""
        if not self.params["contents"]:
            return
        user = self.params["users"][0] if self.params["users"] else None
        comparison = Comparison(self, f"{user['name']}:{user['password']}" if user else "")
        try:
            with self.connection(self.tls, self.context) as connection:
                connection.sock.settimeout(CONTENTS_TIMEOUT)
                comparison.run(connection)
        except socket.timeout:
            # A large catalogue, or a slow disk: slow is not broken.
            self.warn("slow", what=comparison.what, seconds=CONTENTS_TIMEOUT)
        except (OSError, http.client.HTTPException) as error:
            image = comparison.image or self.registry
            raise Broken("unreadable", what=comparison.what, image=image, said=short(error)) from error


class Comparison:
    """Reads one image over one connection and compares it with its digests. Keeps nothing."""

    def __init__(self, diagnosis: Diagnosis, login: str) -> None:
        self.headers = basic(login)
        self.wanted: str = diagnosis.params["image"]
        self.left: float = float("inf") if self.wanted else diagnosis.params["limit"]
        self.compared = diagnosis.compared
        self.image = self.wanted
        self.what = "catalogue"
        self.seen: set[str] = set()

    def run(self, connection: http.client.HTTPConnection) -> None:
        """Compare. Raises Broken, OSError, HTTPException."""
        self.connection = connection
        repository, reference = split_image(self.wanted) if self.wanted else self.first_image()
        if not repository:
            return
        self.repository = repository
        self.image = self.wanted or f"{repository}:{reference}"
        self.compared.update(image=self.image, bytes=0, skipped=0)
        self.manifest(reference)

    def get(self, path: str) -> http.client.HTTPResponse:
        """GET on the one connection."""
        self.connection.request("GET", path, headers={**self.headers, "Accept": ", ".join(MANIFESTS)})
        return self.connection.getresponse()

    def document(self, path: str) -> tuple[int, dict]:
        """An answer's status and document; {} where it holds none."""
        response = self.get(path)
        body = response.read(MOST_BYTES)
        try:
            found = json.loads(body)
        except ValueError:
            found = {}
        return response.status, found if isinstance(found, dict) else {}

    def first_image(self) -> tuple[str, str]:
        """The first repository that has a tag, and the tag; ("", "") where the registry is empty."""
        _status, catalogue = self.document("/v2/_catalog?n=50")
        for repository in catalogue.get("repositories") or []:
            status, found = self.document(f"/v2/{repository}/tags/list")
            if status == 200 and found.get("tags"):
                return repository, sorted(found["tags"])[0]
        return "", ""

    def manifest(self, reference: str) -> None:
        """Compare a manifest, and what it names."""
        self.what = f"manifest {reference}"
        response = self.get(f"/v2/{self.repository}/manifests/{reference}")
        body = response.read(MOST_BYTES)
        if response.status == 404:
            code = "blob_missing" if reference.startswith("sha256:") and self.seen else "image_missing"
            raise Broken(code, image=self.image, what=self.what)
        if response.status != 200:
            said = short(body.decode("utf-8", "replace"))
            raise Broken("unreadable", image=self.image, what=self.what, said=f"HTTP status {response.status} {said}")
        digest = reference if reference.startswith("sha256:") else response.headers.get("Docker-Content-Digest", "")
        self.same(digest, hashlib.sha256(body).hexdigest(), len(body))
        try:
            found = json.loads(body)
        except ValueError:
            found = {}
        self.seen.add(digest)
        for child in found.get("manifests") or []:
            if child.get("digest") and child["digest"] not in self.seen:
                self.manifest(child["digest"])
        for blob in [found.get("config") or {}, *(found.get("layers") or [])]:
            if blob.get("digest") and not blob.get("urls") and blob["digest"] not in self.seen:
                self.seen.add(blob["digest"])
                self.blob(blob["digest"], int(blob.get("size") or 0))

    def blob(self, digest: str, size: int) -> None:
        """Compare a blob, as far as the limit allows."""
        if size > self.left or not digest.startswith("sha256:"):
            self.compared["skipped"] += 1
            return
        self.what = f"layer {digest}"
        response = self.get(f"/v2/{self.repository}/blobs/{digest}")
        if response.status == 404:
            response.read()
            raise Broken("blob_missing", image=self.image, what=self.what)
        if response.status in (302, 303, 307):
            response.read()
            self.compared["skipped"] += 1  # it lies elsewhere, in an object store
            return
        if response.status != 200:
            said = f"HTTP status {response.status} {short(response.read(1000).decode('utf-8', 'replace'))}"
            raise Broken("unreadable", image=self.image, what=self.what, said=said)
        checksum, length = hashlib.sha256(), 0
        while True:
            chunk = response.read(1024 * 1024)
            if not chunk:
                break
            checksum.update(chunk)
            length += len(chunk)
        if size and not length:  # the registry remembers its size, but it is not there
            raise Broken("blob_missing", image=self.image, what=self.what)
        self.same(digest, checksum.hexdigest(), length)

    def same(self, digest: str, found: str, length: int) -> None:
        """Refuse content that has another digest. Raises Broken."""
        self.left -= length
        self.compared["bytes"] += length
        if digest.startswith("sha256:") and digest != f"sha256:{found}":
            expected = {"expected": digest, "found": f"sha256:{found}"}
            raise Broken("digest", image=self.image, what=self.what.split()[0], **expected)


def running_engine() -> Engine | None:
    """The engine that runs, wherever its process id is written; None where there is none."""
    engine = Engine.find("/run/docker.pid")
    for process in glob.glob("/proc/[0-9]*") if engine is None else []:
        with contextlib.suppress(OSError):
            with open(f"{process}/comm", encoding="utf-8") as file:
                if file.read().strip() != "dockerd":
                    continue
            # Not one that runs in a container.
            if os.readlink(f"{process}/ns/pid") != os.readlink("/proc/self/ns/pid"):
                continue
            with open(f"{process}/cmdline", encoding="utf-8", errors="replace") as file:
                words = file.read().rstrip("\0").split("\0")
            if len(words) > 1 or words[0]:  # a zombie has none
                return Engine(int(process[len("/proc/") :]), words[1:], "")
    return engine


def basic(login: str) -> dict[str, str]:
    """The header for name:password; none for an empty one."""
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}


def ca_files(directory: str) -> list[str]:
    """The files of a registry's directory that hold CA certificates for the tools which read it."""
    files = sorted(glob.glob(f"{glob.escape(directory.rstrip('/'))}/*.crt"))
    with contextlib.suppress(OSError), open(os.path.join(directory, "hosts.toml"), encoding="utf-8") as file:
        for line in re.findall(r"^\s*ca\s*=\s*(.+)$", file.read(), re.MULTILINE):
            files += [os.path.join(directory, path) for path in re.findall(r'"([^"]+)"', line)]
    return list(dict.fromkeys(file for file in files if os.path.isfile(file)))


def unverified() -> ssl.SSLContext:
    """A context that takes every certificate, to see which it is. Nothing secret may go over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verifying(files: list[str], pem: str = "", system: bool = True) -> ssl.SSLContext:
    """A context that judges as Go does: the subject's name does not count, any certificate may be an anchor."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    context.verify_flags |= PARTIAL_CHAIN
    stores = [store for store in SYSTEM_STORES if os.path.isfile(store)][:1] if system and not pem else []
    for file in [*files, *stores]:
        # The tools pass over a file without certificates, too.
        with contextlib.suppress(OSError):
            context.load_verify_locations(cafile=file)
    if pem:
        with contextlib.suppress(ssl.SSLError):
            context.load_verify_locations(cadata=pem)
    return context


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "tls": {"type": "bool", "default": True},
            "users": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "password": {"type": "str", "default": "", "no_log": True},
                },
            },
            "logins": {"type": "list", "elements": "str", "default": []},
            "ca": {"type": "str", "default": ""},
            "contents": {"type": "bool", "default": False},
            "image": {"type": "str", "default": ""},
            "limit": {"type": "int", "default": 64 * 1024 * 1024},
            "timeout": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    module.exit_json(**Diagnosis(module).run())


if __name__ == "__main__":
    main()
