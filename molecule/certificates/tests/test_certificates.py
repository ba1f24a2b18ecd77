"""Certificates over the years: renewed in time, by themselves or at once, and one CA after the other."""

from __future__ import annotations

import json
import re
import time
from contextlib import AbstractContextManager

import pytest
from clients import REGISTRY, log_in, make_image, push, serve_old_certificate, served_certificate, watch
from machines import PARTS, PROJECT, docker_that, lock_held, put_back, read_only, some
from testinfra.host import Host

PROGRAM = "/usr/local/sbin/wharf renew-certificate"
CERTIFICATE = "/etc/wharf/tls/registry.crt"
SETTINGS = "/etc/wharf/certificate.json"


def in_file(host) -> str:
    """Return the fingerprint of the certificate in the file."""
    return host.check_output(f"openssl x509 -noout -fingerprint -sha256 -in {CERTIFICATE}")


def started(host) -> str:
    """Return which containers the registry has, and when each was started."""
    return host.check_output(f"docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}' {PARTS}")


def traits(host) -> list[str]:
    """Return subject, names, usage and key of the certificate."""
    text = host.check_output(f"openssl x509 -noout -text -certopt no_serial,no_sigdump -in {CERTIFICATE}")
    lines = [line.strip() for line in text.splitlines()]
    kept = re.compile(
        r"^(?:Subject:|DNS:|Digital Signature|TLS Web Server|CA:FALSE|[0-9a-f]{2}(?::[0-9a-f]{2}){4,}:?$)"
    )
    return sorted(line for line in lines if kept.match(line))


@pytest.fixture(scope="module")
def pulled(hosts, password) -> str:
    """Return the reference of an image in the registry, on a client that is logged in."""
    reference = f"{REGISTRY}/test/certificates:1"
    make_image(hosts["client1"], reference)
    log_in(hosts["client1"], password)
    push(hosts["client1"], reference)
    return reference


# Renewal --------------------------------------------------------------------------------------------------------------


def test_the_timer_waits_for_its_time(hosts):
    timers = json.loads(
        hosts["server"].check_output("systemctl list-timers --output json wharf-renew-certificate.timer")
    )
    assert [timer["activates"] for timer in timers] == ["wharf-renew-certificate.service"]
    assert 0 < timers[0]["next"] / 1e6 - time.time() < 36 * 3600


def test_a_certificate_with_much_life_left_stays(hosts):
    server = hosts["server"]
    before = started(server), in_file(server)
    server.check_output("systemctl start wharf-renew-certificate.service")
    assert (started(server), in_file(server)) == before
    assert re.match(
        r"ok \d+ nothing is pending", server.file("/var/lib/wharf/results/renew-certificate").content_string
    )


def test_the_timer_renews_in_time_and_site_yml_finds_nothing_to_do(hosts, ansible, pulled, number):
    server = hosts["server"]
    serve_old_certificate(server)
    wanted, old, before = traits(server), served_certificate(server), started(server)
    assert len(wanted) > 6, wanted
    with watch(hosts["client1"], pulled) as seen:
        server.check_output("systemctl start wharf-renew-certificate.service")
    assert served_certificate(server) == in_file(server) != old
    assert traits(server) == wanted
    assert server.run(f"openssl x509 -noout -checkend $((390 * 86400)) -in {CERTIFICATE}").rc == 0
    file = server.file(CERTIFICATE)
    assert (file.mode, file.uid, file.gid) == (0o644, 0, 0)
    assert server.check_output("ls -A /etc/wharf/tls").split() == ["ca.crt", "registry.crt", "registry.key"]
    assert seen.failures == 0, vars(seen)
    number("renewal, pulls that failed", seen.failures, f"of {seen.pulls}")

    result = ansible.succeeds("playbooks/deploy-registry.yml")
    assert result.changes == 0, result.stdout
    assert started(server) == before


# At each step: the new certificate is written, the gateway is told, and has loaded it.
HUP = '"kill --signal HUP registry-gateway")'
BROKEN = {
    "": "Read-only file system",
    f"{HUP} broken ;;": f"`docker {HUP[1:-2]}` fails: broken by the test. All is as it was before",
    f'{HUP} once && {{ real "$@"; sleep 2; broken; }}; real "$@" ;;': "All is as it was before",
}


def test_a_renewal_that_fails_changes_nothing(hosts, ansible, pulled):
    server, client = hosts["server"], hosts["client1"]
    with watch(client, pulled) as seen:
        for how, message in BROKEN.items():
            fault = docker_that(server, how) if how else read_only(server, "/etc/wharf/tls")
            result = ansible.fails_whole((server, client), fault, "playbooks/renew-certificates.yml")
            assert message in result.stdout
            assert "changed=1" not in result.stdout
    assert seen.failures == 0, vars(seen)


def test_a_renewal_by_the_timer_that_fails_is_seen_and_made_up_for(hosts, ansible):
    server = hosts["server"]
    serve_old_certificate(server)
    old = served_certificate(server)
    with docker_that(server, f"{HUP} broken ;;"):
        assert server.run("systemctl start wharf-renew-certificate.service").rc != 0
    assert served_certificate(server) == in_file(server) == old
    assert "failed" in server.run("systemctl is-failed wharf-renew-certificate.service").stdout
    diagnosis = ansible.succeeds("playbooks/diagnose-registry.yml")
    assert "wharf renew-certificate failed on server" in diagnosis.stdout
    assert f"`docker {HUP[1:-2]}` fails" in diagnosis.stdout
    assert diagnosis.stdout.count("warning: a s") == 1

    server.check_output("systemctl start wharf-renew-certificate.service")
    assert served_certificate(server) == in_file(server) != old
    assert server.run("systemctl is-failed wharf-renew-certificate.service").rc != 0
    assert server.file("/var/lib/wharf/results/renew-certificate").content_string.startswith("ok ")


@pytest.mark.parametrize("by", some(["the timer"], ["a run", "the timer"]))
def test_a_renewal_that_was_cut_off_is_made_up_for(hosts, ansible, by):
    """The file is new, and the gateway was not told."""
    server = hosts["server"]
    before, old = started(server), served_certificate(server)
    with docker_that(server, f"{HUP} kill -9 $PPID ;;"):
        assert server.run(f"{PROGRAM} --now").rc == 137
    assert served_certificate(server) == old != in_file(server)
    if by == "a run":
        ansible.succeeds("playbooks/deploy-registry.yml")
    else:
        server.check_output("systemctl start wharf-renew-certificate.service")
    assert served_certificate(server) == in_file(server)
    assert started(server) == before


@pytest.mark.thorough
def test_it_waits_for_what_else_is_at_work(hosts, ansible):
    server = hosts["server"]
    before = in_file(server)
    with lock_held(server):
        result = ansible.fails("playbooks/renew-certificates.yml")
    assert re.search("collect-garbage is at work on server since 20.*: wait", result.stdout), result.stdout
    assert in_file(server) == before
    # The timer waits.
    with lock_held(server, seconds=2):
        server.check_output(f"timeout 20 {PROGRAM} --now --wait 15")
    assert in_file(server) != before


def test_a_renewal_at_once_costs_nothing(hosts, ansible, pulled, number):
    server = hosts["server"]
    before, old = started(server), served_certificate(server)
    with watch(hosts["client1"], pulled) as seen:
        result = ansible.succeeds("playbooks/renew-certificates.yml")
    assert "host held until holds until its CA until served after server 20" in result.stdout
    assert served_certificate(server) == in_file(server) != old
    assert started(server) == before
    assert seen.failures == 0, vars(seen)
    number("renew-certificates.yml, pulls that failed", seen.failures, f"of {seen.pulls}")


@pytest.mark.thorough
def test_check_mode_renews_nothing(hosts, ansible):
    before = in_file(hosts["server"])
    for playbook in ("renew-certificates", "rotate-ca"):
        ansible.succeeds(f"playbooks/{playbook}.yml", "--check")
    assert in_file(hosts["server"]) == before
    assert hosts["server"].check_output("ls /etc/wharf/ca").split() == ["ca.crt", "ca.key"]


def test_a_damaged_key_or_ca_costs_no_working_certificate(hosts):
    server = hosts["server"]
    before = in_file(server)
    for file, words in (("tls/registry.key", "does not belong to"), ("ca/ca.key", "the key of /etc/wharf/ca/ca.crt")):
        with put_back(server, f"/etc/wharf/{file}"):
            server.check_output(f"openssl ecparam -name prime256v1 -genkey -out /etc/wharf/{file}")
            result = server.run(f"{PROGRAM} --now")
        assert result.rc == 1
        assert words in result.stderr
        assert in_file(server) == before
    assert server.run(f"{PROGRAM}").rc == 0


# One CA after the other -----------------------------------------------------------------------------------------------

AWAY = ["-i", f"{PROJECT}/molecule/certificates/inventory/unreachable-client.yml"]
TRUSTED = f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt"
STORED = "/usr/local/share/ca-certificates/wharf-registry.wharf.test_5000_*.crt"


def authorities(host, path: str) -> list[str]:
    """Return the CAs in a file, their fingerprints."""
    count = host.check_output(f"cat {path}").count("BEGIN CERTIFICATE")
    return [
        host.check_output(
            f"cat {path} | awk '/BEGIN CERT/ {{ n++ }} n == {number}' | openssl x509 -noout -fingerprint -sha256"
        )
        for number in range(1, count + 1)
    ]


def system_trusts(host) -> bool:
    """Tell whether the system's store takes the registry's certificate."""
    command = (
        "openssl s_client -connect registry.wharf.test:5000 -verify_return_error -CApath /etc/ssl/certs </dev/null"
    )
    return host.run(command).rc == 0


@pytest.mark.thorough
def test_one_ca_follows_the_other_while_a_client_pulls(hosts, ansible, pulled, number):
    """Each step fails once, and is undone: what it would have changed is as before, and the steps before it stay."""

    def fails(fault: AbstractContextManager, message: str, *same: Host) -> None:
        assert message in ansible.fails_whole(same, fault, "playbooks/rotate-ca.yml").stdout

    not_told = docker_that(hosts["server"], f"{HUP} broken ;;")
    no_store = (read_only(hosts["client1"], "/usr/local/share/ca-certificates") for _ in range(2))
    server, client = hosts["server"], hosts["client1"]
    (old,) = authorities(server, "/etc/wharf/tls/ca.crt")
    assert authorities(client, TRUSTED) == [old]
    assert system_trusts(client)
    issued_by = f"openssl x509 -noout -issuer -in {CERTIFICATE}"
    issuer = server.check_output(issued_by)

    with watch(client, pulled) as seen:
        # The next CA is made first, and then given out.
        fails(read_only(server, "/etc/wharf/tls"), "Read-only file system", server, client)
        # The first step, and then nothing for a while: the timer goes on with the old CA.
        result = ansible.succeeds("playbooks/rotate-ca.yml", "-e", "wharf_rotate_until=stage")
        both = authorities(server, "/etc/wharf/tls/ca.crt")
        assert both[0] == old
        assert len(set(both)) == 2
        assert authorities(client, TRUSTED) == [old]
        server.check_output(f"{PROGRAM} --now")
        assert server.check_output(issued_by) == issuer

        fails(next(no_store), "Read-only file system", server, client)
        # A client that cannot be reached is not left behind in silence.
        result = ansible.fails("playbooks/rotate-ca.yml", *AWAY)
        assert "away: not known to trust the next CA" in result.stdout
        assert "wharf_skip_clients=away" in result.stdout
        assert authorities(client, TRUSTED) == both
        assert sorted(authorities(client, STORED)) == sorted(both)
        assert server.check_output(issued_by) == issuer

        message = f"`docker {HUP[1:-2]}` fails: broken by the test. All is as it was"
        fails(not_told, message, server, client)
        # Killed in the middle of the next step; a plain run makes up for the rest and keeps the state.
        with ansible.killed("playbooks/rotate-ca.yml") as rotation:
            while rotation.poll() is None and server.check_output(issued_by) == issuer:
                time.sleep(0.05)
        result = ansible.succeeds("site.yml", "--skip-tags", "verify")
        assert "another CA is about to follow" in result.stdout
        assert served_certificate(server) == in_file(server)
        assert server.check_output(issued_by) != issuer
        assert authorities(server, "/etc/wharf/tls/ca.crt") == authorities(client, TRUSTED) == both
        assert system_trusts(client)
        # The timer goes on with the next CA.
        server.check_output(f"{PROGRAM} --now")
        assert server.check_output(issued_by) != issuer

        # The last three: the new CA alone is given out, taken, and takes the old one's place.
        fails(read_only(server, "/etc/wharf/tls"), "Read-only file system", server, client)
        assert authorities(server, "/etc/wharf/tls/ca.crt") == both
        fails(next(no_store), "Read-only file system", client)
        assert authorities(server, "/etc/wharf/tls/ca.crt") == both[1:]
        fails(read_only(server, "/etc/wharf/ca"), "Read-only file system", server)
        # Again, to the end, without the client that is away.
        result = ansible.succeeds("playbooks/rotate-ca.yml", *AWAY, "-e", "wharf_skip_clients=away")
    assert authorities(server, "/etc/wharf/tls/ca.crt") == authorities(client, TRUSTED) == both[1:]
    assert authorities(client, STORED) == authorities(server, "/etc/wharf/ca/ca.crt") == both[1:]
    assert server.check_output("ls -A /etc/wharf/ca").split() == ["ca.crt", "ca.key"]
    assert system_trusts(client)
    assert seen.failures == 0, vars(seen)
    number("rotate-ca.yml, pulls that failed", seen.failures, f"of {seen.pulls}")

    result = ansible.succeeds("site.yml", "--skip-tags", "verify")
    assert result.changes == 0, result.stdout
    assert "about to follow" not in result.stdout


@pytest.mark.thorough
def test_a_limit_that_leaves_the_server_out_is_refused(hosts, ansible):
    result = ansible.fails("playbooks/rotate-ca.yml", "--limit", "client1")
    assert "--limit: leaves server out" in result.stdout
    assert not hosts["server"].file("/etc/wharf/ca/next.key").exists


# Without systemd, and without a CA of Wharf's own ---------------------------------------------------------------------


@pytest.mark.thorough
def test_cron_renews_where_there_is_no_systemd_and_stops_when_others_provide_the_certificate(hosts, ansible):
    sysv = hosts["sysv"]
    ansible.succeeds("molecule/certificates/alone.yml")
    (line,) = re.findall(
        r"^\d+ \d+ \* \* \* root (.*)$", sysv.file("/etc/cron.d/wharf-renew-certificate").content_string, re.M
    )
    assert not sysv.file("/etc/systemd/system/wharf-renew-certificate.timer").exists
    assert sysv.file("/usr/sbin/cron").exists  # without it, the line would wait for nobody
    before = in_file(sysv)
    ran = sysv.run(f"cd / && env -i PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin sh -c '{line}'")
    assert (ran.rc, ran.stdout, ran.stderr) == (0, "", "")
    assert sysv.file("/var/lib/wharf/results/renew-certificate").content_string.startswith("ok ")
    # Debian 12's openssl.
    assert sysv.run(f"{PROGRAM} --now").rc == 0
    assert in_file(sysv) != before
    sysv.check_output(f"openssl verify -purpose sslserver -CAfile /etc/wharf/tls/ca.crt {CERTIFICATE}")
    assert ansible.succeeds("molecule/certificates/alone.yml").changes == 0

    files = {"certificate": CERTIFICATE, "key": "/etc/wharf/tls/registry.key", "ca": "/etc/wharf/tls/ca.crt"}
    provided = {f"registry_tls_{name}": sysv.file(path).content_string for name, path in files.items()}
    ansible.succeeds("molecule/certificates/alone.yml", registry_tls_mode="provided", **provided)
    left = sysv.run(f"ls /etc/cron.d/wharf-renew-certificate {SETTINGS}")
    assert left.stdout == ""
