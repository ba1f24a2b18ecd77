"""The registry as it is while a subcommand changes its storage: it serves pulls and refuses pushes."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ..api import Client, trust
from .checks import remove_leftovers, replace_temporary_users, temporary_user
from .docker import docker, ignore_signals
from .registry import Registry

TRASH = ".wharf-removed"  # in the driver's root directory: what is deleted moves there first, so that it goes at once


@contextlib.contextmanager
def temporary_client(registry: Registry) -> Iterator[Client]:
    """Return a client that may push and pull: its user exists as long as this lasts."""
    with temporary_user(Path(registry.htpasswd)) if registry.htpasswd else contextlib.nullcontext(("", "")) as login:
        yield client_of(registry, *login)


def client_of(registry: Registry, user: str = "", password: str = "") -> Client:
    """Return a client of the registry, under its name, on this host's own address."""
    context = trust(registry.ca) if registry.ca else None
    return Client(registry.name, registry.port, context, address="127.0.0.1", user=user, password=password)


def wait_until_ready(registry: Registry) -> None:
    """Wait until the registry answers as a client sees it.

    Raises:
        WharfError: it does not.
    """
    with client_of(registry) as client:
        client.wait(60, pause=0.05)


@contextlib.contextmanager
def read_only(registry: Registry) -> Iterator[dict[str, float]]:
    """Let the registry serve pulls and refuse pushes; whatever happens, it is as it was afterwards.

    The container itself is only stopped: another one, which refuses pushes, has its port and data meanwhile. So
    whoever starts the registry's own container recovers everything, the engine at boot as well.

    Returns:
        A mapping that fills with seconds: "read_only", and "gaps", how long no registry answered at all.
    """
    times = {"gaps": 0.0, "read_only": 0.0}
    create = ["create", "--name", registry.read_only_container, *registry.container_options()]
    for port, bindings in registry.inspected["HostConfig"]["PortBindings"].items():
        for binding in bindings:
            create += ["--publish", f"{binding['HostIp']}:{binding['HostPort']}:{port}"]
    create += ["--env", 'REGISTRY_STORAGE_MAINTENANCE_READONLY={"enabled":true}']
    try:
        docker(*create, registry.image, *registry.inspected["Config"]["Cmd"])
        stopped = time.monotonic()
        docker("stop", registry.container)
        docker("start", registry.read_only_container)
        wait_until_ready(registry)
        began = time.monotonic()
        times["gaps"] += began - stopped
        yield times
        times["read_only"] = time.monotonic() - began
    finally:
        stopped = time.monotonic()
        recover(registry)
        times["gaps"] += time.monotonic() - stopped


def recover(registry: Registry) -> None:
    """Start the registry's own container again, and remove what stood in for it.

    Raises:
        WharfError: it does not answer.
    """
    ignore_signals()  # the worst moment to be interrupted
    deadline = time.monotonic() + 60
    while True:  # the engine may be about to start again
        docker("rm", "--force", registry.collector, check=False)
        docker("stop", registry.read_only_container, check=False)
        docker("start", registry.container, check=False)
        if registry.is_running():
            break
        if time.monotonic() > deadline:
            docker("start", registry.container)  # which tells why
        time.sleep(0.5)
    wait_until_ready(registry)
    docker("rm", "--force", registry.read_only_container)


def clean_up(registry: Registry) -> bool:
    """Clean up after a run that was cut off. Return whether one had left containers."""
    names = docker("ps", "--all", "--format", "{{.Names}}").splitlines()
    was_cut_off = registry.collector in names or registry.read_only_container in names
    if was_cut_off:
        recover(registry)
    docker("rm", "--force", registry.dry_run_collector, check=False)
    if registry.htpasswd:
        replace_temporary_users(Path(registry.htpasswd), [])
    remove_leftovers(registry.storage)
    shutil.rmtree(registry.root / TRASH, ignore_errors=True)
    return was_cut_off


def interruption(times: dict[str, float]) -> str:
    """Return what the mapping of read_only says, for people."""
    return f"refused pushes for {times['read_only']:.1f} s; did not answer for {times['gaps']:.1f} s, in two parts"
