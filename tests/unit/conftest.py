"""What all unit tests share: the repository's root, and signals that end them."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What the modules are told of a registry that has its images in files, and is alone: values for REGISTRY_SPEC.
ALONE: dict[str, Any] = {"store": "", "credentials": "", "store_ca": "", "peers": [], "peers_certificate": ""}
ALONE |= {"peers_key": "", "http_secret": ""}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Put back what handles signals, which the code that is tested may change."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _nothing_else_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to delete a tree outside the directory for temporary files: a wrong argument once took /etc of a machine.

    Whoever runs the tests may be root, and what is tested removes directories for a living.
    """
    rmtree, allowed = shutil.rmtree, Path(tempfile.gettempdir()).resolve()

    def guarded(path: Any, *arguments: Any, **options: Any) -> None:
        place = Path(path).resolve()
        if options.get("dir_fd") is None and allowed not in place.parents:
            raise AssertionError(f"a test wants to delete {place}, which is not below {allowed}")
        rmtree(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", guarded)
