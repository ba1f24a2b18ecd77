"""The smoke test cleans up after itself, also when it fails, and shows no password."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import processes
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage
from ansible_collections.wharf.registry.plugins.modules import registry_smoke_test as smoke_test
from tests.unit.stored_bucket import S3, StoredBucket, stored_bucket  # noqa: F401
from tests.unit.stored_registry import StoredRegistry

DIGEST = "sha256:" + "a" * 64
# Notes down how it is called, with what login, and does as if.
DOCKER = f"""#!/bin/sh
echo "$*" >>"$LOG"
cat "$DOCKER_CONFIG/config.json" >>"$LOG.login"
case "$1 $2" in
    "$FAILS "*) echo "$1 is refused" >&2; exit 1 ;;
    "push "*) echo "1: digest: {DIGEST} size: 1" ;;
    "image inspect") echo '["sha256:1"]' ;;
    "image ls") echo 123; echo 123 ;;
    import*) cat "$2" >"$LOG.layer" ;;
esac
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where a docker that does nothing notes down its calls."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "run").mkdir()
    for name in ("docker", "podman"):
        (tmp_path / "bin" / name).write_text(DOCKER)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setattr(processes, "PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("FAILS", "nothing")
    monkeypatch.setattr(smoke_test, "RUN", str(tmp_path / "run"))
    return tmp_path / "log"


def run(**params: object) -> dict:
    """Run it."""
    given = {
        "state": "present",
        "tool": "docker",
        "registry": "reg.test:5000",
        "repository": "t/x",
        "user": "ci",
        "password": "secret",
    }
    return smoke_test.run({**given, "digest": "", "layers": [], **params})


def test_push_tells_digest_and_layers_and_leaves_nothing(log: Path) -> None:
    result = run()
    assert (result["digest"], result["layers"]) == (DIGEST, ["sha256:1"])
    assert re.sub(r"/\S*/wharf-smoke-test-\w+/", "", log.read_text()).splitlines() == [
        "import layer.tar reg.test:5000/t/x:smoke-test",
        "push reg.test:5000/t/x:smoke-test",
        "image inspect --format {{json .RootFS.Layers}} reg.test:5000/t/x:smoke-test",
        "image ls --quiet reg.test:5000/t/x",
        "image rm --force 123",
    ]
    assert list((log.parent / "run").iterdir()) == []
    assert log.with_name("log.layer").stat().st_size > smoke_test.SIZE


def test_login_is_the_smoke_tests_own_and_on_no_command_line(log: Path) -> None:
    run()
    assert "secret" not in log.read_text()
    login = json.loads(log.with_name("log.login").read_text().partition("}}}")[0] + "}}}")
    assert login == {"auths": {"reg.test:5000": {"auth": "Y2k6c2VjcmV0"}}}


@pytest.mark.parametrize("fails", ["import", "push"])
def test_failure_is_told_and_leaves_nothing(log: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    monkeypatch.setenv("FAILS", fails)
    with pytest.raises(WharfError, match=f"docker {fails} .*: {fails} is refused"):
        run()
    assert log.read_text().splitlines()[-1] == "image rm --force 123"
    assert list((log.parent / "run").iterdir()) == []


def test_missing_tool_is_named(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATH", "/nowhere")
    with pytest.raises(WharfError, match="docker: No such file or directory"):
        run()


def test_pull_compares_what_was_pushed(log: Path) -> None:
    assert run(digest=DIGEST, layers=["sha256:1"])["digest"] == DIGEST
    assert f"pull --quiet reg.test:5000/t/x@{DIGEST}" in log.read_text()
    with pytest.raises(WharfError, match="the content differs: .*sha256:1.* was pulled, .*sha256:2.* was pushed"):
        run(digest=DIGEST, layers=["sha256:2"])
    assert log.read_text().splitlines()[-1] == "image rm --force 123"


def test_what_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}
    monkeypatch.setattr(smoke_test, "must_run", lambda *_, **options: given.update(options) or "")
    tool = smoke_test.Tool.__new__(smoke_test.Tool)
    tool.program, tool.environment = "docker", {}
    tool.run("push", "x")
    assert 0 < given["timeout"] < 600


def test_what_was_pushed_is_removed_from_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = StoredRegistry(tmp_path)
    kept = stored.image("app", "1", b"kept")
    stored.image("wharf-verify/1", "smoke-test", b"random")
    registry = SimpleNamespace(driver="filesystem", storage=Storage(tmp_path))
    monkeypatch.setattr(smoke_test, "Registry", lambda: registry)
    run(state="absent", repository="wharf-verify/1")
    assert Storage(tmp_path).repositories() == ["app"]
    assert len(list(tmp_path.glob("docker/registry/v2/blobs/*/*/*/data"))) == 3
    assert Storage(tmp_path).problems(contents=True) == []
    assert Storage(tmp_path).tags("app") == {"1": kept}


def test_what_was_pushed_is_removed_from_a_bucket(
    stored_bucket: StoredBucket,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored_bucket.image("app", "1", b"kept")
    stored_bucket.image("wharf-verify/1", "smoke-test", b"random")
    registry = SimpleNamespace(driver="s3", s3=S3, storage=stored_bucket.storage())
    monkeypatch.setattr(smoke_test, "Registry", lambda: registry)
    run(state="absent", repository="wharf-verify/1")
    assert stored_bucket.storage().repositories() == ["app"]
    assert len(stored_bucket.storage().blob_sizes()) == 3
