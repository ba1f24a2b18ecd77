"""The module virtual_address_info: where a virtual address belongs, what is there, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import pytest
from ansible.module_utils.testing import patch_module_args
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.module_utils import processes
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.modules import virtual_address_info as module

CONFIG = (ROOT / "roles/virtual_address/templates/etc/wharf/keepalived/keepalived.conf.j2").read_text("utf-8")
CONFIG = jinja2.Template(CONFIG, keep_trailing_newline=True, trim_blocks=True).render(
    ansible_managed="managed",
    inventory_hostname="here",
    virtual_address_address="192.0.2.10/24",
    virtual_address_router_id=51,
    __virtual_address_plan={
        "interface": "eth0",
        "source": "192.0.2.1",
        "priority": 100,
        "server_priority": 201,
        "peers": ["192.0.2.2", "192.0.2.3"],
    },
)


class Fake:
    """A host: its programs, its service, and its addresses, each with its prefix."""

    def __init__(self, root: Path) -> None:
        """Have all that there is to be, but no address of its own."""
        self.root, self.programs = root, {"keepalived", "openssl", "apt-get"}
        self.addresses: list[str] = ["192.0.2.1/24"]
        self.states = {"is-active": 0, "is-enabled": 0}
        self.files = (root / "keepalived.conf", root / "check", root / "wharf-keepalived.service")
        for path, text in zip(self.files, (CONFIG, "#!/bin/bash\n", "[Service]\n"), strict=True):
            path.write_text(text)
            path.chmod(0o755 if path.name == "check" else 0o644)

    def run(self, command: list[str]) -> tuple[int, str]:
        return self.states[command[1]], ""

    def shown(self, *_: object) -> str:
        entries = [
            {"local": ip, "prefixlen": int(bits), "scope": "global"} for ip, bits in map(self.split, self.addresses)
        ]
        return json.dumps([{"ifname": "lo", "addr_info": []}, {"ifname": "eth0", "addr_info": entries}])

    @staticmethod
    def split(address: str) -> tuple[str, str]:
        ip, _, bits = address.partition("/")
        return ip, bits

    def gather(self, address: str = "192.0.2.10/24", tls: bool = True) -> dict:
        return module.gather(address, tls, "here")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return a host that holds a virtual address already."""
    fake = Fake(tmp_path)
    real = module.read_entry
    monkeypatch.setattr(module, "read_entry", lambda path: (found := real(path)) and found._replace(uid=0, gid=0))
    monkeypatch.setattr(module, "CONFIG", fake.files[0])
    monkeypatch.setattr(module, "FILES", fake.files)
    monkeypatch.setattr(processes, "LISTS", tmp_path)
    monkeypatch.setattr(module, "SYSTEMD", tmp_path)
    monkeypatch.setattr(module, "run", fake.run)
    monkeypatch.setattr(module, "must_run", fake.shown)
    monkeypatch.setattr(module, "has", lambda program: program in fake.programs)
    return fake


def test_a_finished_host_is_told_as_it_is(fake):
    fake.addresses.append("192.0.2.10/24")
    info = fake.gather()
    assert (info["interface"], info["source"], info["holds"], info["runs"]) == ("eth0", "192.0.2.1", True, True)
    assert info["peers"] == ["192.0.2.2", "192.0.2.3"] and info["missing_packages"] == []
    assert (info["priority"], info["server_priority"]) == (100, 201)
    assert [(Path(one["path"]).name, one["mode"]) for one in info["files"]] == [
        ("keepalived.conf", "0644"),
        ("check", "0755"),
        ("wharf-keepalived.service", "0644"),
    ]
    assert info["files"][0]["content"] == CONFIG


def test_what_is_missing_is_told(fake):
    for path in fake.files:
        path.unlink()
    fake.programs = {"apt-get"}
    fake.states["is-enabled"] = 1
    info = fake.gather()
    assert (info["files"], info["peers"], info["holds"], info["runs"]) == ([], [], False, False)
    assert (info["priority"], info["server_priority"]) == (0, 0)
    assert info["missing_packages"] == ["keepalived", "openssl"]
    assert fake.gather(tls=False)["missing_packages"] == ["keepalived"]


def test_without_an_address_nothing_is_looked_for_on_the_network(fake, monkeypatch):
    monkeypatch.setattr(module, "must_run", None)  # nor needed for it
    fake.programs = set()
    info = fake.gather("")
    assert len(info["files"]) == 3 and info["missing_packages"] == [] and info["source"] == ""


def test_a_file_that_is_somebody_else_s_or_a_link_is_none(fake, monkeypatch):
    fake.files[1].unlink()
    fake.files[1].symlink_to(fake.files[0])
    real = module.read_entry
    other = fake.files[2].name
    monkeypatch.setattr(
        module, "read_entry", lambda path: (found := real(path)) and found._replace(uid=1000 if other in path else 0)
    )
    assert [Path(one["path"]).name for one in fake.gather()["files"]] == ["keepalived.conf"]


@pytest.mark.parametrize(
    ("address", "addresses", "has_config", "words"),
    [
        ("192.0.2.1/24", ["192.0.2.1/24"], False, "192.0.2.1/24 is an address of here already"),
        ("198.51.100.1/24", ["192.0.2.1/24"], True, "lies in no network that here has an address in"),
        ("192.0.2.10/24", ["192.0.2.1/16"], True, "has another prefix .* 192.0.2.1/16: use 192.0.2.10/16"),
        ("2001:db8::10/64", ["192.0.2.1/24"], True, "lies in no network that here has an address in"),
        ("192.0.2.10/24", ["192.0.2.10/24"], True, "lies in no network that here has an address in"),
    ],
)
def test_a_host_that_could_not_hold_it_is_refused(fake, address, addresses, has_config, words):
    fake.addresses = addresses
    if not has_config:
        fake.files[0].unlink()
    with pytest.raises(WharfError, match=words):
        fake.gather(address)


def test_without_systemd_or_a_way_to_install_it_is_refused(fake, monkeypatch):
    fake.programs = {"openssl"}
    with pytest.raises(WharfError, match="keepalived: must be installed on here first"):
        fake.gather()
    monkeypatch.setattr(module, "SYSTEMD", fake.root / "none")
    with pytest.raises(WharfError, match="needs systemd, which does not run on here"):
        fake.gather()


@pytest.mark.parametrize("comes", [True, False])
def test_it_waits_until_the_host_has_the_address(fake, monkeypatch, capsys, comes):
    times = iter(range(100))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(module.time, "sleep", lambda _: fake.addresses.append("192.0.2.10/24") if comes else None)
    given = {"address": "192.0.2.10/24", "host": "here", "wait": 3}
    with patch_module_args(given), pytest.raises(SystemExit):
        module.main()
    result = json.loads(capsys.readouterr().out)
    assert result["holds"] if comes else "here has not got 192.0.2.10/24: see there" in result["msg"]
