"""daemon.json is owned key by key, and nothing that runs is killed for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machines import broken, engine_put_back, put_back, replaced, snapshot

CONVERGE = "molecule/engine/converge.yml"
SYSTEMD = ["debian12", "debian13"]
ALL = [*SYSTEMD, "testing", "sysv"]


def config(host) -> dict:
    """Return the engine's configuration file."""
    return json.loads(host.file("/etc/docker/daemon.json").content_string)


def options(**options) -> dict[str, dict]:
    """Return the variable that gives the role these options and no others."""
    return {"docker_engine_options": options}


def ran_on(host) -> bool:
    """Tell whether the container that was there before Wharf came has run on."""
    return host.check_output("docker inspect --format '{{.State.StartedAt}}' sleeper") == host.check_output(
        "cat /root/sleeper-started"
    )


@contextmanager
def changed(hosts, *names: str) -> Iterator[None]:
    """Let a test change the configuration of engines; it is put back, and no container may have been stopped."""
    with engine_put_back(*(hosts[name] for name in names)):
        yield
    assert all(ran_on(hosts[name]) for name in names if name in SYSTEMD)


@pytest.mark.parametrize("name", ALL)
def test_engine_runs_and_starts_at_boot(hosts, name):
    hosts[name].check_output("docker info")
    assert hosts[name].service("docker").is_enabled


@pytest.mark.parametrize("name", ALL)
def test_engine_has_read_its_configuration(hosts, name):
    info = json.loads(hosts[name].check_output("docker info --format '{{json .}}'"))
    assert info["LiveRestoreEnabled"] is True
    assert info["Labels"] == ["wharf=yes"]
    assert "registry.wharf.test:5000" in info["RegistryConfig"]["IndexConfigs"]


@pytest.mark.parametrize("name", SYSTEMD)
def test_other_peoples_keys_stay_and_so_does_the_files_mode(hosts, name):
    now = config(hosts[name])
    assert now["log-level"] == "warn"
    assert now["default-address-pools"] == [{"base": "10.200.0.0/16", "size": 24}]
    assert sorted(now["insecure-registries"]) == ["10.9.9.9:5000", "registry.wharf.test:5000"]
    assert now["log-opts"] == {"max-size": "10m", "max-file": "3"}
    assert hosts[name].file("/etc/docker/daemon.json").mode == 0o640


@pytest.mark.parametrize("name", SYSTEMD)
def test_options_are_judged_whatever_path_su_or_sudo_leaves(hosts, ansible, tmp_path, name):
    """The engine looks for docker-proxy in it, and cannot judge a file without."""
    role = {"role": "wharf.registry.docker_engine", "vars": options(labels=["path=short"])}
    path = {"PATH": "/usr/bin:/bin"}
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([{"hosts": name, "gather_facts": False, "environment": path, "roles": [role]}]))
    with changed(hosts, name):
        ansible.succeeds(str(play))
        assert config(hosts[name])["labels"] == ["path=short"]


def test_reload_where_the_engine_can_reload(hosts, ansible):
    pids = {name: hosts[name].file("/run/docker.pid").content_string for name in SYSTEMD}
    with changed(hosts, *SYSTEMD):
        ansible.succeeds(CONVERGE, "--limit", ",".join(SYSTEMD), **options(**{"max-concurrent-downloads": 7}))
        for name, pid in pids.items():
            assert hosts[name].file("/run/docker.pid").content_string == pid
            # Keys that we once wrote and no longer want are gone, other people's stay.
            now = config(hosts[name])
            assert now["max-concurrent-downloads"] == 7
            assert now["insecure-registries"] == ["10.9.9.9:5000"]
            assert "labels" not in now
            info = hosts[name].check_output("docker info --format '{{json .RegistryConfig}}'")
            assert "registry.wharf.test:5000" not in info


def test_restart_where_it_must(hosts, ansible):
    pids = {name: hosts[name].file("/run/docker.pid").content_string for name in ALL}
    with changed(hosts, *ALL):
        ansible.succeeds(CONVERGE, **options(**{"log-opts": {"max-size": "20m"}}))
        for name, pid in pids.items():
            assert hosts[name].file("/run/docker.pid").content_string != pid
            assert config(hosts[name])["log-opts"]["max-size"] == "20m"
            hosts[name].check_output("docker info")


@pytest.mark.parametrize(
    ("content", "place"),
    [('{"debug": true,\n "dns": [}\n', "line 2"), ("[]", "line 1"), ('{"debug": true, "debug": false}', "debug")],
)
@pytest.mark.thorough
def test_unreadable_configuration_is_named_and_left_alone(hosts, ansible, content, place):
    host = hosts["debian13"]
    with replaced(host, "/etc/docker/daemon.json", content):
        before = snapshot(host)
        result = ansible.fails(CONVERGE, "--limit", "debian13")
        assert "/etc/docker/daemon.json" in result.stdout
        assert place in result.stdout
        assert snapshot(host) == before


def test_option_that_the_engine_does_not_know_is_refused_in_its_own_words_before_anything_changes(hosts, ansible):
    before = snapshot(hosts["debian13"])
    wrong = {"docker_engine_http_proxy": "http://proxy.test:3128", **options(**{"no-such-key": 1})}
    result = ansible.fails(CONVERGE, "--limit", "debian13", **wrong)
    assert "no-such-key" in result.stdout
    assert snapshot(hosts["debian13"]) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [("features", {"containerd-snapshotter": True}), ("data-root", "/srv/docker"), ("storage-driver", "vfs")],
)
def test_engine_does_not_lose_sight_of_running_containers(hosts, ansible, key, value):
    host = hosts["debian13"]
    before = snapshot(host)
    result = ansible.fails(CONVERGE, "--limit", "debian13", **options(**{key: value}))
    assert f"{key}" in result.stdout
    assert "would no longer see the containers that run now (sleeper)" in result.stdout
    assert snapshot(host) == before


@pytest.mark.thorough
def test_setting_that_names_the_store_in_use_is_no_move(hosts, ansible):
    with changed(hosts, "debian13"):
        ansible.succeeds(CONVERGE, "--limit", "debian13", **options(**{"storage-driver": "overlay2"}))
        assert hosts["debian13"].check_output("docker info --format '{{.Driver}}'") == "overlay2"


# Proxies --------------------------------------------------------------------------------------------------------------

PROXIES = {
    "docker_engine_http_proxy": "http://proxy.test:3128",
    "docker_engine_https_proxy": "http://ops:Pa55%40proxy@proxy.test:3128",
    "docker_engine_no_proxy": [".corp.test"],
    "docker_engine_no_proxy_extra": ["registry.wharf.test"],
}
HIDDEN = "Pa55%40proxy"


def environment(host) -> dict[str, str]:
    """Return the proxies in the environment of the engine that runs."""
    lines = host.check_output(r"tr '\0' '\n' </proc/$(cat /run/docker.pid)/environ").splitlines()
    return dict(line.split("=", 1) for line in lines if "PROXY=" in line)


def test_check_mode_says_who_would_reload_and_who_restart_and_why(hosts, ansible):
    before = {name: snapshot(hosts[name]) for name in ALL}
    result = ansible.succeeds(CONVERGE, "--check", **PROXIES, docker_engine_log_max_size="11m")
    said = re.findall(
        r"The engine would be (?:reloaded for [a-z, -]+ )?restarted for ([a-z, -]+proxies)", result.stdout
    )
    assert len(said) == len(ALL), result.stdout
    assert all("log-opts" in keys for keys in said)
    result = ansible(CONVERGE, "--check", "--limit", "debian12", **options(debug=True))
    assert "The engine would be reloaded for" in result.stdout
    assert before == {name: snapshot(hosts[name]) for name in ALL}


def test_proxies_come_one_engine_at_a_time_and_are_used_and_go_again_and_no_password_shows(hosts, ansible):
    result = ansible.succeeds(CONVERGE, "-vvv", "--diff", **PROXIES)
    assert HIDDEN not in result.stdout
    for name in ALL:
        host = hosts[name]
        seen = environment(host)
        assert seen["HTTP_PROXY"] == "http://proxy.test:3128"
        assert seen["HTTPS_PROXY"] == f"http://ops:{HIDDEN}@proxy.test:3128"
        assert seen["NO_PROXY"].split(",") == ["localhost", "127.0.0.0/8", "::1", "registry.wharf.test", ".corp.test"]
        assert HIDDEN not in host.check_output("cat /proc/[0-9]*/cmdline; systemctl show docker 2>/dev/null || true")
        found = host.check_output(f"grep -rlF '{HIDDEN}' /etc /var/lib/wharf /run /tmp /root 2>/dev/null || true")
        assert found == "/etc/default/wharf-docker"
        assert (host.file(found).mode, host.file(found).user) == (0o600, "root")
    # Each engine was stopped only when the one before was ready again.
    show = "systemctl show docker --property=InactiveEnterTimestampMonotonic,ActiveEnterTimestampMonotonic --value"
    first, second, third = sorted(sorted(map(int, hosts[name].check_output(show).split())) for name in ALL[:3])
    assert first[0] < first[1] < second[0] < second[1] < third[0] < third[1]
    again = ansible(CONVERGE, **PROXIES)
    assert again.changes == 0, again.stdout

    # The engine uses them, but not for the registry.
    host = hosts["debian13"]
    through = host.run("docker pull elsewhere.test/x:1").stderr
    assert "proxyconnect" in through
    assert "proxy.test" in through
    direct = host.run("docker pull registry.wharf.test/x:1").stderr
    assert "registry.wharf.test" in direct
    assert "proxyconnect" not in direct

    ansible.succeeds(CONVERGE, docker_engine_restart_throttle=0)
    for name in ALL:
        assert environment(hosts[name]) == {}
        left = "/etc/default/wharf-docker /etc/systemd/system/docker.service.d/wharf-proxies.conf"
        assert hosts[name].run(f"ls {left}; grep wharf /etc/default/docker").stdout == ""
    for name in SYSTEMD:
        assert ran_on(hosts[name])


@pytest.mark.thorough
def test_restart_that_a_run_was_cut_off_before_is_made_up_for(hosts, ansible):
    host = hosts["debian13"]
    pid = host.file("/run/docker.pid").content_string
    new = PROXIES | {"docker_engine_no_proxy": [".new.test"]}
    with changed(hosts, "debian13"):
        # The engine's configuration cannot be written: the run ends after the proxies and before the restart.
        read_only = "mount --bind /etc/docker /etc/docker && mount -o remount,bind,ro /etc/docker"
        with broken(host, read_only, "umount /etc/docker"):
            result = ansible.fails(CONVERGE, "--limit", "debian13", **new, **options(debug=True))
        assert "/etc/docker/daemon.json cannot be written" in result.stdout
        assert host.file("/run/docker.pid").content_string == pid
        assert ".new.test" in host.file("/etc/default/wharf-docker").content_string

        checked = ansible(CONVERGE, "--limit", "debian13", "--check", **new)
        assert "The engine would be restarted for proxies" in checked.stdout
        ansible.succeeds(CONVERGE, "--limit", "debian13", **new)
        assert ".new.test" in environment(host)["NO_PROXY"]
        assert ansible.succeeds(CONVERGE, "--limit", "debian13", **new).changes == 0


@pytest.mark.thorough
def test_proxies_of_somebody_else_in_daemon_json_are_not_overruled_in_silence(hosts, ansible):
    host = hosts["debian13"]
    theirs = json.dumps(config(host) | {"proxies": {"http-proxy": "http://other.test"}})
    with replaced(host, "/etc/docker/daemon.json", theirs):
        before = snapshot(host)
        result = ansible.fails(CONVERGE, "--limit", "debian13", **PROXIES)
        assert "/etc/docker/daemon.json holds proxies" in result.stdout
        assert HIDDEN not in result.stdout
        assert snapshot(host) == before


# An engine that is somebody else's ------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_engine_from_nowhere_is_refused_or_only_configured(hosts, ansible):
    """A binary that no package knows, as from an archive."""
    host = hosts["debian12"]
    with put_back(host, "/var/lib/dpkg/status"):
        host.check_output("sed -i '/^Package: docker.io$/,/^$/d' /var/lib/dpkg/status")
        before = snapshot(host)
        result = ansible.fails(CONVERGE, "--limit", "debian12")
        assert "/usr/sbin/dockerd is here already, from" in result.stdout
        assert "docker_engine_source: none" in result.stdout
        assert snapshot(host) == before
        none = ["--limit", "debian12", "-e", "docker_engine_source=none"]
        ansible.succeeds(CONVERGE, *none, **options(debug=True))
        assert config(host)["debug"] is True
        ansible.succeeds(CONVERGE, *none)
        assert "docker.io" not in host.check_output("dpkg-query --show")


@pytest.mark.thorough
def test_none_without_an_engine_is_refused(hosts, ansible):
    away = "mv /usr/sbin/dockerd /usr/sbin/dockerd.away"
    with broken(hosts["debian12"], away, "mv /usr/sbin/dockerd.away /usr/sbin/dockerd"):
        result = ansible.fails(CONVERGE, "--limit", "debian12", "-e", "docker_engine_source=none")
    assert "no engine (dockerd) is on this host" in result.stdout


@pytest.mark.thorough
def test_system_that_is_not_supported_is_refused(hosts, ansible):
    host = hosts["debian12"]
    before = snapshot(host)
    with put_back(host, "/usr/lib/os-release", "/etc/debian_version"):
        host.check_output("sed -i 's/12/10/; s/bookworm/buster/' /usr/lib/os-release; echo 10.13 >/etc/debian_version")
        result = ansible.fails(CONVERGE, "--limit", "debian12")
    assert "Debian GNU/Linux 10: use none" in result.stdout
    assert snapshot(host) == before


@pytest.mark.thorough
def test_broken_file_on_a_bare_host_is_refused_before_the_packages_come(hosts, ansible):
    host = hosts["testing"]
    host.check_output("apt-get remove --yes --quiet docker.io docker-cli")
    with replaced(host, "/etc/docker/daemon.json", '{"debug": true,\n "dns": [}\n'):
        before = snapshot(host)
        result = ansible.fails(CONVERGE, "--limit", "testing")
        assert "/etc/docker/daemon.json, line 2, column 10: Expecting value" in result.stdout
        assert snapshot(host) == before
    ansible.succeeds(CONVERGE, "--limit", "testing")


@pytest.mark.parametrize("name", SYSTEMD)
def test_container_ran_on(hosts, name):
    assert ran_on(hosts[name])
