"""Why an engine does not run."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import engine_faults

ENABLED = "Id=docker.service\nUnitFileState=enabled\n\nId=docker.socket\nUnitFileState=enabled\n"
FAILED = "failed to start daemon: pid file found"


@pytest.mark.parametrize(
    ("argv", "units", "log", "fault"),
    [
        ([], ENABLED, FAILED, ("engine_stopped", {"log": FAILED})),
        ([], ENABLED, f"{FAILED}\nAPI listen on /run/docker.sock\n", ("engine_stopped", {"log": ""})),
        (
            [],
            ENABLED,
            "failed to load listeners: no sockets",
            ("engine_stopped", {"log": "failed to load listeners: no sockets"}),
        ),
        (
            [],
            ENABLED.replace("enabled", "masked", 1),
            FAILED,
            ("engine_masked", {"unit": "docker.service", "option": ""}),
        ),
        (
            [],
            ENABLED.replace("enabled", "masked-runtime"),
            "",
            ("engine_masked", {"unit": "docker.service docker.socket", "option": " --runtime"}),
        ),
        (["--debug"], ENABLED, "", ("engine_conflict", {"key": "debug", "flag": "--debug"})),
    ],
)
def test_an_engine_does_not_run_for_a_reason(monkeypatch, tmp_path, argv, units, log, fault):
    config = tmp_path / "daemon.json"
    config.write_text('{"debug": true}')
    monkeypatch.setattr(engine_faults, "idle_argv", lambda _module: [f"--config-file={config}", *argv])
    monkeypatch.setattr(engine_faults, "run", lambda command: (0, units if command[0] == "systemctl" else log))
    code, details = engine_faults.stopped_fault(None)
    details.pop("path", None)
    assert (code, details) == fault


def test_a_broken_configuration_is_said_without_what_was_not_done(tmp_path):
    config = tmp_path / "daemon.json"
    config.write_text("{")
    document, fault = engine_faults.config_fault([f"--config-file={config}"])
    assert (document, fault[0]) == ({}, "engine_json")
    assert "Nothing was changed" not in fault[1]["reason"]
