"""Write the figures that Prometheus reads at the gateway's /metrics: of the registry, of nginx, and of this server.

The file is /var/lib/wharf/metrics/metrics. What cannot be had is left out of it, and said here; all else is there.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .. import caches, gateway, parts, peers
from ..api import Client
from ..containers import new_lines
from ..data import container
from ..engine import engine_runs
from ..errors import WharfError, message_of
from ..exposition import Exposition
from ..files import read_json, read_text, write_atomic
from ..lock import Result, lock, read_result
from ..openssl import end_of
from ..processes import network_of
from ..server_versions import gateway_version
from ..version import VERSION
from .cli import SERVER_ONLY, Task
from .read_only import client_of
from .registry import Registry
from .repair import STATE as REPAIR_STATE
from .trim_caches import STATE as CACHES_STATE

METRICS = Path(parts.METRICS)
LOCK = Path("/run/wharf-metrics.lock")
SCHEDULES = ("/etc/systemd/system/wharf-{}.timer", "/etc/cron.d/wharf-{}")
NETWORK = "/proc/{}/net/dev"  # proc_net(5)
HOUR = 3600  # seconds
SECONDS = 10  # for each source
LISTING = 120  # for a bucket; the other figures wait for that
PORT = 5001  # of the registry's figures, in the network of its container
INTERVALS = {"minutely": 60, "hourly": 3600, "daily": 86400, "weekly": 7 * 86400, "monthly": 31 * 86400}
TASKS = {
    "backup": "back-up",
    "backup_check": "check-backup",
    "collection": "collect-garbage",
    "index": "index",
    "renewal": "renew-certificate",
    "repair": "repair-storage",
    "retention": "apply-retention",
    "trimming": "trim-caches",
}
# The gateway's words for what it logs.
EVENTS = {
    "login refused": "login_refused",
    "denied": "denied",
    "the registry does not answer": "unavailable",
    "too many connections": "too_many_connections",
    "pushed": "pushed",
    "deleted": "deleted",
}
# What is counted of each cache.
CACHE_COUNTS = {"hit": 0, "miss": 0, "error": 0, "saved": 0, "last_error": 0}
# Our own figures, and nginx's by the names that nginx-prometheus-exporter has given them.
FIGURES = {
    "wharf_up": ("gauge", "Whether the registry or its gateway answers."),
    "wharf_build_info": ("gauge", "The versions of Wharf, of the registry and of nginx; always 1."),
    "wharf_metrics_written_timestamp_seconds": ("gauge", "When these figures were written."),
    "wharf_standby": ("gauge", "Whether this is a standby, to which a server's images are copied."),
    "wharf_standby_last_copy_timestamp_seconds": ("gauge", "As of when a standby has its server's images."),
    "wharf_standby_interval_seconds": ("gauge", "How often they are copied."),
    "wharf_peer_up": ("gauge", "Whether another server on the same store answers here."),
    "wharf_read_only": ("gauge", "Whether the registry takes no push just now."),
    "wharf_certificate_expiry_timestamp_seconds": ("gauge", "When the registry's certificate ends."),
    "wharf_ca_expiry_timestamp_seconds": ("gauge", "When the last of the CAs ends that clients trust."),
    "wharf_task_last_run_timestamp_seconds": ("gauge", "When a task ended last."),
    "wharf_task_last_run_success": ("gauge", "Whether a task's last run ended well."),
    "wharf_task_last_run_duration_seconds": ("gauge", "How long a task's last run took."),
    "wharf_task_last_run_bytes": ("gauge", "What a run has freed, or the size of the last snapshot."),
    "wharf_task_last_success_timestamp_seconds": ("gauge", "When a task last ended well."),
    "wharf_task_interval_seconds": ("gauge", "How often a task runs by itself."),
    "wharf_task_schedule_created_timestamp_seconds": ("gauge", "Since when a task has its schedule."),
    "wharf_storage_size_bytes": ("gauge", "The size of the file system with the images."),
    "wharf_storage_free_bytes": ("gauge", "What is free for the registry in the file system with the images."),
    "wharf_storage_inodes": ("gauge", "The inodes of the file system with the images."),
    "wharf_storage_inodes_free": ("gauge", "The inodes that are free in the file system with the images."),
    "wharf_storage_used_bytes": ("gauge", "What the images take in the object store, as of the last hour."),
    "wharf_repositories": ("gauge", "How many repositories there are."),
    "wharf_tags": ("gauge", "How many tags there are."),
    "wharf_gateway_events_total": ("counter", "What the gateway has logged since it was first counted."),
    "wharf_cache_up": ("gauge", "Whether the cache of an upstream answers."),
    "wharf_cache_requests_total": ("counter", "Layers that a cache had (hit), and that it fetched (miss)."),
    "wharf_cache_saved_bytes_total": ("counter", "What was served of layers that a cache had."),
    "wharf_cache_errors_total": ("counter", "Requests that a cache could not answer itself."),
    "wharf_cache_last_error_timestamp_seconds": ("gauge", "When that was last so."),
    "wharf_cache_size_bytes": ("gauge", "How much the images of a cache took when it was trimmed last."),
    "wharf_cache_limit_bytes": ("gauge", "How much they may take."),
    "wharf_cache_images": ("gauge", "How many images a cache had when it was trimmed last."),
    "wharf_network_receive_bytes_total": ("counter", "What has come from clients, as bytes on the network."),
    "wharf_network_transmit_bytes_total": ("counter", "What has gone to clients, as bytes on the network."),
    "registry_up": ("gauge", "Whether the registry told its figures."),
    "nginx_up": ("gauge", "Whether nginx told its figures."),
    "nginx_connections_accepted": ("untyped", "Accepted client connections."),
    "nginx_connections_active": ("gauge", "Active client connections."),
    "nginx_connections_handled": ("untyped", "Handled client connections."),
    "nginx_connections_reading": ("gauge", "Connections where nginx is reading the request header."),
    "nginx_connections_waiting": ("gauge", "Idle client connections."),
    "nginx_connections_writing": ("gauge", "Connections where nginx is writing the response back to the client."),
    "nginx_http_requests_total": ("counter", "Total http requests."),
}
STUB_STATUS = re.compile(
    r"Active connections: (?P<connections_active>\d+) \n"
    r"server accepts handled requests\n"
    r" (?P<connections_accepted>\d+) (?P<connections_handled>\d+) (?P<http_requests_total>\d+) \n"
    r"Reading: (?P<connections_reading>\d+) Writing: (?P<connections_writing>\d+)"
    r" Waiting: (?P<connections_waiting>\d+) \n"
)
_SCHEDULE = re.compile(
    rf"\(({'|'.join(INTERVALS)})\)$", re.MULTILINE
)  # of the description of a timer, or in cron's file
# Lines of the gateway's, as the engine keeps them, with the time in UTC.
_EVENT = re.compile(rb'^\{"log":"\d{4}-\d\d-\d\dT\S+ ([a-z ]+): user ', re.MULTILINE)
_CACHE = re.compile(
    rb'^\{"log":"cache (hit|miss|error): (\S+) (\d+)\\n".*"time":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)', re.MULTILINE
)


def run(task: Task) -> str:
    """Write the figures."""
    with lock("metrics", path=LOCK):
        server = Server()
        if not METRICS.is_dir():  # the gateway has it mounted, and would not see another one
            raise WharfError(f"there is no {METRICS}: playbooks/deploy-registry.yml makes it")
        for problem in server.collect():
            task.line(problem)
        text, uid = server.figures.text(), server.registry.uid
        write_atomic(str(METRICS / "metrics"), text.encode(), 0o640, 0, uid)
    return ""


class TooSlow(Exception):
    """A source has not told its figures in time."""


class Server:
    """The figures of this server, which the methods add, and what they are from.

    Attributes:
        registry: the registry.
        gateways: its gateway, and one that was just replaced and ends what it has begun; none where the engine does not
            tell.
        is_held: whether a collection holds pushes back.
        figures: what was collected so far.
    """

    def __init__(self) -> None:
        """Ask the engine for the containers, if it runs."""
        try:
            with time_limit(SECONDS):
                self._ask(engine_runs())
        except TooSlow:
            self._ask(False)
        self.is_held = gateway.is_held(self.registry.gateway_directory)
        self.figures = Exposition()
        self.figures.types = {name: kind for name, (kind, _) in FIGURES.items()}
        self.figures.help = {name: text for name, (_, text) in FIGURES.items()}

    def _ask(self, engine: bool) -> None:
        self.registry = Registry(ask=engine)
        name = parts.container_names(self.registry.container)["gateway"]
        self.gateways = list(filter(None, map(container, (name, f"{name}-before")))) if engine else []

    def collect(self) -> Iterator[str]:
        """Collect the figures; yield why some of them could not be had."""
        sources: dict[str, Callable[[], None]] = {
            "registry": self.registry_up,
            "gateway": self.gateway_up,
            "versions": self.versions,
            "certificates": self.certificates,
            "tasks": self.tasks,
            "events": self.events,
            "network": self.network,
            "nginx": self.nginx,
            "the registry's own": self.registrys_own,
            **({"bucket": self.bucket} if self.registry.s3 else {"storage": self.storage}),
            "standby": self.standby,
            "contents": self.contents,
        }
        for address, port in peers.known(self.registry.gateway_directory):
            sources[f"peer {address}"] = partial(self.peer, address, port)
        for cache in self.registry.caches.get("upstreams", ()):
            sources[f"cache {cache['upstream']}"] = partial(self.cache, cache)
        for name, source in sources.items():
            try:
                with time_limit(LISTING if name == "bucket" else SECONDS):
                    source()
            except (WharfError, OSError, ValueError, LookupError, TooSlow, sqlite3.Error) as error:
                yield f"{name}: {message_of(error)}"
        self.figures.add("wharf_metrics_written_timestamp_seconds", int(time.time()))

    @contextmanager
    def telling(self, name: str, **labels: str) -> Iterator[None]:
        """Tell whether something is up: it is not if the block fails."""
        try:
            yield
        except Exception:
            self.figures.add(name, 0, **labels)
            raise
        self.figures.add(name, 1, **labels)

    def registry_up(self) -> None:
        """Ask the registry itself, past the gateway; during a collection what stands in for it."""
        self.figures.add("wharf_read_only", int(self.is_held or self.registry.read_only))
        with self.telling("wharf_up", component="registry"):
            # Where the engine tells nothing, it may run all the same (live-restore), in one slot or the other.
            own = [self.registry.slot] if self.registry.inspected else parts.SLOTS
            problems = [gateway.problem_of(slot) for slot in (parts.STAND_INS[:1] if self.is_held else own)]
            if all(problems):
                raise WharfError(problems[0])

    def gateway_up(self) -> None:
        """Ask the gateway as its clients do. Whether the registry behind it answers does not count."""
        with self.telling("wharf_up", component="gateway"), client_of(self.registry) as client:
            # The gateway answers that itself: it logs nothing, and does not ask the registry.
            if not client.request("HEAD", "/-").is_registry():
                raise WharfError(f"what answers as {client} is no registry")

    def versions(self) -> None:
        """Tell the versions."""
        self.figures.add(
            "wharf_build_info",
            1,
            version=VERSION,
            registry_version=self.registry.version(),
            gateway_version=gateway_version(next(iter(self.gateways), None)),
        )

    def certificates(self) -> None:
        """Tell when the certificate ends, and when its CA."""
        if not self.registry.ca:
            return
        ca = Path(self.registry.ca)
        self.figures.add("wharf_certificate_expiry_timestamp_seconds", int(end_of(ca.parent / "registry.crt")))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca)
        ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in context.get_ca_certs()]
        if ends:  # none where the certificate is its own anchor, and no CA
            self.figures.add("wharf_ca_expiry_timestamp_seconds", max(ends))

    def tasks(self) -> None:
        """Tell how each task ended last, and how often it is to run."""
        for task, subcommand in TASKS.items():
            if self.registry.standby_of and subcommand in SERVER_ONLY:
                continue
            files = [path for path in (Path(one.format(subcommand)) for one in SCHEDULES) if path.exists()]
            facts = last_run(subcommand)
            if task == "repair" and self.registry.driver != "filesystem":
                files = []  # there is nothing that it could look at
            if files and (match := _SCHEDULE.search(read_text(files[0]))):
                facts["wharf_task_interval_seconds"] = INTERVALS[match[1]]
                facts["wharf_task_schedule_created_timestamp_seconds"] = int(files[0].stat().st_mtime)
            for name, value in facts.items():
                if value is not None:
                    self.figures.add(name, value, task=task)

    def events(self) -> None:
        """Count what the gateway has logged since the last run; the first run only notes where its log ends."""
        path = METRICS / "state.json"
        state, logs = read_json(path), {}
        known, counts = state.get("logs", {}), dict.fromkeys(EVENTS.values(), 0) | state.get("events", {})
        upstreams = {one["slug"]: one["upstream"] for one in self.registry.caches.get("upstreams", ())}
        of_caches = {slug: CACHE_COUNTS | state.get("caches", {}).get(slug, {}) for slug in upstreams}
        for found in self.gateways:
            text, logs[found["Id"]] = new_lines(found.get("LogPath", ""), known.get(found["Id"]))
            for word in _EVENT.findall(text) if state else ():
                if event := EVENTS.get(word.decode()):
                    counts[event] += 1
            for result, slug, sent, when in _CACHE.findall(text) if state else ():
                if of_cache := of_caches.get(slug.decode()):
                    of_cache[result.decode()] += 1
                    if result == b"hit":
                        of_cache["saved"] += int(sent)
                    elif result == b"error":
                        seconds = datetime.datetime.fromisoformat(f"{when.decode()}+00:00").timestamp()
                        of_cache["last_error"] = max(of_cache["last_error"], int(seconds))
        for event, count in counts.items():
            self.figures.add("wharf_gateway_events_total", count, event=event)
        for slug, upstream in upstreams.items():
            counted = of_caches[slug]
            for result in ("hit", "miss"):
                self.figures.add("wharf_cache_requests_total", counted[result], upstream=upstream, result=result)
            self.figures.add("wharf_cache_saved_bytes_total", counted["saved"], upstream=upstream)
            self.figures.add("wharf_cache_errors_total", counted["error"], upstream=upstream)
            if counted["last_error"]:
                self.figures.add("wharf_cache_last_error_timestamp_seconds", counted["last_error"], upstream=upstream)
        now = {"events": counts, "caches": of_caches, "logs": logs or known}
        if now != state:
            write_atomic(str(path), json.dumps(now).encode(), 0o600)

    def cache(self, cache: Mapping[str, Any]) -> None:
        """Tell how large a cache is, and whether its container answers, past the gateway."""
        upstream, facts = cache["upstream"], read_json(CACHES_STATE).get("caches", {}).get(cache["slug"])
        if facts:
            self.figures.add("wharf_cache_size_bytes", facts["bytes"], upstream=upstream)
            self.figures.add("wharf_cache_images", facts["images"], upstream=upstream)
        if cache["size"]:
            self.figures.add("wharf_cache_limit_bytes", cache["size"], upstream=upstream)
        serving = caches.SHELF if cache.get("offline") else cache["slug"]
        with self.telling("wharf_cache_up", upstream=upstream), caches.direct(serving, 2) as client:
            client.ping()

    def network(self) -> None:
        """Tell what has come and gone over the gateway's network, which is its own and its clients' only."""
        devices = read_text(NETWORK.format(running_pid(next(iter(self.gateways), None)))).splitlines()[2:]
        bytes_of = [
            numbers.split() for name, _, numbers in (one.partition(":") for one in devices) if name.strip() != "lo"
        ]
        self.figures.add("wharf_network_receive_bytes_total", sum(int(numbers[0]) for numbers in bytes_of))
        self.figures.add("wharf_network_transmit_bytes_total", sum(int(numbers[8]) for numbers in bytes_of))

    def nginx(self) -> None:
        """Tell what nginx counts."""
        with self.telling("nginx_up"):
            text = gateway.figures(running_pid(next(iter(self.gateways), None)))
            match = STUB_STATUS.fullmatch(text)
            if match is None:
                raise WharfError(f"this is not what nginx counts: {text[:100]!r}")
        for name, value in match.groupdict().items():
            self.figures.add(f"nginx_{name}", int(value))

    def registrys_own(self) -> None:
        """Tell what the registry itself counts. While a collection has frozen it, nothing: it will go on counting."""
        found = self.registry.inspected
        if self.is_held and found and found["State"]["Paused"]:
            return
        with self.telling("registry_up"), Inside("registry", PORT, running_pid(found)) as client:
            response = client.request("GET", "/metrics")
            if response.status != 200:
                raise WharfError(f"it tells no figures: HTTP status {response.status}")
            self.figures.read(response.body.decode("utf-8", "replace"), "registry_")

    def storage(self) -> None:
        """Tell how much room there is for images that are files."""
        if self.registry.driver != "filesystem":
            return
        self.registry.require_data()
        facts = os.statvfs(self.registry.path)
        self.figures.add("wharf_storage_size_bytes", facts.f_blocks * facts.f_frsize)
        self.figures.add("wharf_storage_free_bytes", facts.f_bavail * facts.f_frsize)
        if facts.f_files:
            self.figures.add("wharf_storage_inodes", facts.f_files)
            self.figures.add("wharf_storage_inodes_free", facts.f_favail)

    def bucket(self) -> None:
        """Tell once an hour, because all of it is listed, how much is in the bucket; without a page also of what."""
        path, now = METRICS / "bucket.json", time.time()
        known = read_json(path)
        if known.get("bucket") != self.registry.s3 or not 0 <= now - known.get("counted", 0) < HOUR:
            storage, known = self.registry.storage, {"bucket": dict(self.registry.s3), "counted": int(now)}
            write_atomic(str(path), json.dumps(known).encode(), 0o600)  # what takes too long is tried once an hour, too
            tags = [len(storage.tag_names(name)) for name in storage.repositories()]
            known |= {"repositories": len(tags), "tags": sum(tags), "used": sum(storage.blob_sizes().values())}
            write_atomic(str(path), json.dumps(known).encode(), 0o600)
        if "used" not in known:
            return
        self.figures.add("wharf_storage_used_bytes", known["used"])
        if not index_state().exists():
            self.figures.add("wharf_repositories", known["repositories"])
            self.figures.add("wharf_tags", known["tags"])

    def standby(self) -> None:
        """Tell whether this is a standby, and how old what it has is."""
        self.figures.add("wharf_standby", int(bool(self.registry.standby_of)))
        if self.registry.standby_of:
            copied, interval = self.registry.copied()
            if copied:
                self.figures.add("wharf_standby_last_copy_timestamp_seconds", int(copied))
                self.figures.add("wharf_standby_interval_seconds", int(interval))

    def peer(self, address: str, port: int) -> None:
        """Ask another server's registry, the way by which the gateway would pass requests on to it."""
        directory = self.registry.gateway_directory
        with self.telling("wharf_peer_up", peer=address), peers.client_of(address, port, directory) as client:
            if (answer := client.request("GET", "/v2/")).status != 200:
                raise WharfError(f"HTTP status {answer.status}")

    def contents(self) -> None:
        """Count repositories and tags; where they are in an object store, those that the page's index has."""
        if self.registry.driver == "filesystem":
            self.registry.require_data()
            storage = self.registry.storage
            tags = [len(storage.tag_names(name)) for name in storage.repositories()]
        elif (index := index_state()).exists():
            cached = [one["slug"] for one in self.registry.caches.get("upstreams", ())]
            with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as state:
                rows = state.execute("SELECT name, links FROM repositories").fetchall()
            tags = [len(json.loads(links)["tags"]) for name, links in rows if name.partition("/")[0] not in cached]
        else:
            return
        self.figures.add("wharf_repositories", len(tags))
        self.figures.add("wharf_tags", sum(tags))


def index_state() -> Path:
    """Return where the index of the page has its state, if there is a page."""
    return Path(parts.INDEX, "state/state.db")


class Inside(Client):
    """A client of what a container serves on its own loopback address."""

    def __init__(self, name: str, port: int, pid: int) -> None:
        """Take the container's process."""
        super().__init__(name, port, timeout=5)
        self.pid = pid

    def open_socket(self) -> socket.socket:
        """Return a socket that is connected."""
        with network_of(self.pid):
            inside = socket.socket()
        inside.settimeout(self.timeout)
        inside.connect(("127.0.0.1", self.port))
        return inside


def running_pid(found: dict[str, Any] | None) -> int:
    """Return the process of a container that runs. Raises WharfError where it does not."""
    if not found or found["State"]["Status"] != "running":
        raise WharfError("the container does not run")
    return int(found["State"]["Pid"])


def last_run(subcommand: str) -> dict[str, float | None]:
    """Return the figures of the last run of a subcommand; nothing where there was none."""
    last = read_result(subcommand)
    looked = REPAIR_STATE.stat().st_mtime if subcommand == "repair-storage" and REPAIR_STATE.exists() else 0
    if looked and (last is None or last.time < looked):  # it notes only what it has repaired, or could not
        last = (last or Result(True, 0, ""))._replace(time=looked, seconds=None)
        last = last._replace(succeeded=looked) if last.good else last
    if last is None:
        return {}
    return {
        "wharf_task_last_run_timestamp_seconds": int(last.time),
        "wharf_task_last_run_success": int(last.good),
        "wharf_task_last_run_duration_seconds": last.seconds,
        "wharf_task_last_run_bytes": last.bytes,
        "wharf_task_last_success_timestamp_seconds": last.succeeded and int(last.succeeded),
    }


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow where the block takes longer."""

    def stop(*_: object) -> None:
        raise TooSlow(f"nothing was told within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
