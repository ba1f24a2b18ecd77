"""The module registry_authority_info: all that makes a CA, and what is not there as empty text."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.wharf.registry.plugins.modules import registry_authority_info


@pytest.mark.parametrize("check_mode", [False, True])
def test_the_files_of_the_ca_are_read(tmp_path, capsys, check_mode):
    (tmp_path / "ca.key").write_text("a key")
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls/ca.crt").write_text("for clients")
    paths = {"directory": str(tmp_path / "tls"), "ca_directory": str(tmp_path), "_ansible_check_mode": check_mode}
    with patch_module_args(paths), pytest.raises(SystemExit):
        registry_authority_info.main()
    result = json.loads(capsys.readouterr().out)
    assert not result["changed"]
    assert json.loads(result["authority"]) == {
        "ca.key": "a key", "ca.crt": "", "next.key": "", "next.crt": "", "published": "for clients",
    }  # fmt: skip
