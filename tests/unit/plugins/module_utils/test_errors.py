"""What a person is told of an error."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import errors


@pytest.mark.parametrize(
    ("error", "user", "message"),
    [
        (errors.WharfError("x: is wrong: use y"), 0, "x: is wrong: use y"),
        (ValueError(), 0, "ValueError"),
        (FileNotFoundError(2, "No such file or directory", "/x"), 0, "/x: No such file or directory"),
        (OSError(28, "No space left on device"), 0, "No space left on device"),
        (PermissionError(13, "Permission denied", "/x"), 0, "/x: Permission denied"),
        (PermissionError(13, "Permission denied", "/x"), 1000, "/x: Permission denied: run it as root"),
    ],
)
def test_message(error: Exception, user: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors.os, "getuid", lambda: user)
    assert errors.message_of(error) == message
