"""Each tool pushes and pulls, as root and as an ordinary user, and does not where the registry is not trusted."""

from __future__ import annotations

import base64
import json
import re
import secrets
from contextlib import ExitStack
from pathlib import Path

import pytest
from clients import REGISTRY, cri_pull, log_in, make_image, push
from machines import broken, in_background, put, put_back, replaced, snapshot, some, write
from plays import INVENTORY, assert_all_is_well, write_play

CREDENTIALS = Path(INVENTORY).parent / ".credentials/users/ci"
DOCKER = ["debian13", "testing"]
CONTAINERS = ["debian12", "debian13", "testing"]
NODES = ["node13", "nodetesting"]
CLIENTS = [*CONTAINERS, *NODES]
USERS = ["root", "dev"]
UNKNOWN = "certificate signed by unknown authority"
PLAIN = "server gave HTTP response to HTTPS client"
IMAGE = f"{REGISTRY}/test/tools:1"
RESTART = "systemctl reset-failed containerd && systemctl restart containerd"  # systemd refuses a sixth in ten seconds
CA_FILE = f"{REGISTRY}/wharf-ca.crt"


def as_user(host, user: str, command: str):
    """Run a command as a user in a session, with storage that needs no device of the kernel's."""
    variables = "HOME=$(getent passwd $user | cut -d: -f6) PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    variables += " STORAGE_DRIVER=vfs"
    if user != "root":
        variables += " XDG_RUNTIME_DIR=/run/user/$(id -u $user)"
    return host.run(f"user={user}; cd /; exec runuser -u $user -- env -i {variables} sh -ec '{command}'")


def moves(host, user: str, tool: str):
    """Let a tool push an image of fresh random content, and pull it back."""
    image = f"{REGISTRY}/test/{secrets.token_hex(6)}:1"
    return as_user(host, user, f"sh {put(host, f'move-{tool}.sh', mode='0644')} {image} {IMAGE}")


def ctr_pull(host, password: str | None):
    """Pull with ctr, which asks for its directory each time."""
    login = f"--user ci:{password}" if password else ""
    return host.run(f"ctr images pull --hosts-dir /etc/containerd/certs.d {login} {IMAGE} 2>&1")


@pytest.fixture
def password() -> str:
    """Return the password as it is now: a test changes it."""
    return CREDENTIALS.read_text().strip()


@pytest.fixture(scope="module", autouse=True)
def _image_is_there(hosts) -> None:
    """Have an image in the registry that the tools can pull; the server itself is no client."""
    server, here = hosts["server"], "localhost:5000"
    make_image(server, f"{here}/test/tools:1")
    log_in(server, CREDENTIALS.read_text().strip(), registry=here)
    push(server, f"{here}/test/tools:1")
    server.check_output(f"docker logout {here}")


def test_docker_is_not_installed_where_it_is_not_wanted(hosts):
    for name in ["debian12", *NODES]:
        assert hosts[name].run("command -v dockerd docker").rc != 0


def test_engine_that_runs_from_elsewhere_is_not_installed_over(hosts, ansible):
    """A program that only has the name stands for the engine of a snap, or of somebody's archive."""
    node = hosts["node13"]
    run = f"mkdir /opt/docker && cp /bin/sleep /opt/docker/dockerd && {in_background('/opt/docker/dockerd 300')}"
    with broken(node, run, "pkill -x dockerd; rm -r /opt/docker"):
        result = ansible.fails("playbooks/install-docker.yml", "--limit", "node13", wharf_client_tools=["docker"])
        assert "an engine runs here already, /opt/docker/dockerd, from outside" in result.stdout
        assert not node.exists("docker")


def test_smoke_test_names_who_took_no_part(ansible):
    """Pushed with docker, pulled with docker and podman."""
    result = ansible.succeeds("playbooks/verify-registry.yml")
    for line in ("debian13 pushed", "debian12 pulled", "testing pulled"):
        assert line in result.stdout
    for name in NODES:
        assert f"{name} not verified: it has neither docker nor podman" in result.stdout


def test_absent_takes_trust_and_logins_away_and_nothing_of_others(hosts, ansible, password):
    """The negative of all that follows. What others have in the same places stays."""
    other = {"auths": {"other.test:5000": {"auth": "b3RoZXI6b3RoZXI="}}}
    for name in CONTAINERS:
        document = json.loads(hosts[name].file("/root/.config/containers/auth.json").content_string)
        document["auths"] |= other["auths"]
        write(hosts[name], "/root/.config/containers/auth.json", json.dumps(document))
    hosts["debian13"].check_output(f"touch /etc/docker/certs.d/{REGISTRY}/client.cert")

    ansible.succeeds("playbooks/trust-registry.yml", registry_client_state="absent")

    try:
        # A client certificate is broken without its key: it would hide what is to be seen.
        assert hosts["debian13"].check_output(f"ls /etc/docker/certs.d/{REGISTRY}") == "client.cert"
        hosts["debian13"].check_output(f"rm -r /etc/docker/certs.d/{REGISTRY}")
        for name in CLIENTS:
            left = hosts[name].check_output("find /etc /usr/local /root /home -name '*wharf*' -not -path /etc/wharf")
            assert left == ""
        for name in CONTAINERS:
            assert json.loads(hosts[name].file("/root/.config/containers/auth.json").content_string) == other
            for user in USERS:
                for tool in ("podman", "buildah"):
                    assert UNKNOWN in as_user(hosts[name], user, f"{tool} pull {IMAGE}").stderr
                assert UNKNOWN in as_user(hosts[name], user, f"skopeo inspect docker://{IMAGE}").stderr
        # An engine that runs knows the system's store as it was when it first asked.
        hosts["debian13"].check_output("systemctl restart docker")
        for name in DOCKER:
            assert UNKNOWN in hosts[name].run(f"docker pull {IMAGE}").stderr
        for name in NODES:
            assert UNKNOWN in ctr_pull(hosts[name], password).stdout
            assert UNKNOWN in cri_pull(hosts[name], IMAGE, password)
        assert hosts["debian13"].run(f"curl --silent --show-error https://{REGISTRY}/v2/").rc == 60
    finally:
        ansible.succeeds("playbooks/trust-registry.yml")


def test_engine_has_the_store_that_is_meant(hosts):
    stores = [hosts[name].check_output("docker info --format '{{.Driver}}'") for name in DOCKER]
    assert stores == ["overlayfs", "overlay2"]


@pytest.mark.parametrize("name", DOCKER)
def test_docker_pushes_and_pulls(hosts, name):
    result = moves(hosts[name], "root", "docker")
    assert result.rc == 0, result.stderr


def test_buildx_builds_and_pushes(hosts):
    result = moves(hosts["testing"], "root", "buildx")
    assert result.rc == 0, result.stderr


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("tool", ["podman", "buildah", "skopeo"])
@pytest.mark.thorough(
    "podman-root-debian13",
    "podman-dev-debian13",
    "buildah-root-debian12",
    "buildah-root-debian13",
    "buildah-dev-debian12",
    "buildah-dev-debian13",
    "skopeo-root-debian12",
    "skopeo-root-debian13",
    "skopeo-dev-debian12",
    "skopeo-dev-debian13",
)
def test_podman_and_its_sisters_push_and_pull(hosts, name, user, tool):
    result = moves(hosts[name], user, tool)
    assert result.rc == 0, result.stderr


@pytest.mark.parametrize("name", NODES)
def test_containerd_pulls(hosts, name, password):
    result = ctr_pull(hosts[name], password)
    assert result.rc == 0, result.stdout
    assert "grpc-status: 0" in cri_pull(hosts[name], IMAGE, password)
    assert IMAGE in hosts[name].check_output("ctr --namespace k8s.io images ls --quiet")
    hosts[name].check_output(f"ctr --namespace k8s.io images rm {IMAGE}")


def test_system_store_is_for_every_program(hosts, password):
    command = f"printf 'user = ci:{password}' | curl --fail --silent --show-error --config - https://{REGISTRY}/v2/"
    assert hosts["debian13"].run(command).rc == 0
    assert hosts["testing"].run(command).rc == 60  # not asked for there


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("user", USERS)
def test_login_files_are_their_users_own(hosts, name, user):
    home = hosts[name].user(user).home
    files = [f"{home}/.config/containers/auth.json"]
    if name in DOCKER and user == "root":
        files.append(f"{home}/.docker/config.json")
    for path in files:
        file = hosts[name].file(path)
        assert (file.mode, file.user) == (0o600, user)
        assert REGISTRY in json.loads(file.content_string)["auths"]
    # Who may not use the engine is not logged in with it.
    assert not hosts[name].file(f"{hosts[name].user('dev').home}/.docker").exists


def test_changed_password_is_noticed_and_renewed_and_shows_nowhere(hosts, ansible, password):
    new = secrets.token_urlsafe(24)
    CREDENTIALS.write_text(f"{new}\n")
    ansible.succeeds("playbooks/deploy-registry.yml", registry_server_replace_passwords="ci")
    # A session kept the old password, in the file that podman reads first.
    runtime = "/run/user/$(id -u dev)/containers"
    other = {"other.test": {"auth": "b3RoZXI6b3RoZXI="}}
    stale = json.dumps({"auths": {REGISTRY: {"auth": base64.b64encode(f"ci:{password}".encode()).decode()}} | other})
    hosts["testing"].check_output(
        f"install --directory --owner dev --mode 0700 {runtime}; echo '{stale}' >{runtime}/auth.json;"
        f" chown dev {runtime}/auth.json"
    )
    for name in CONTAINERS:
        assert "unauthorized" in as_user(hosts[name], "dev", f"skopeo inspect docker://{IMAGE}").stderr
    for name, tool in (("debian12", "skopeo"), ("debian13", "docker"), ("debian13", "skopeo")):
        put(hosts[name], "witness.sh", f"/usr/local/bin/{tool}", mode="0755")

    result = ansible.succeeds("playbooks/trust-registry.yml", "-vvv", "--diff")
    assert new not in result.stdout
    assert base64.b64encode(f"ci:{new}".encode()).decode() not in result.stdout
    for name in CONTAINERS:
        assert new not in hosts[name].check_output("journalctl --no-pager")
    for name in ("debian12", "debian13"):
        seen = hosts[name].check_output("tr '\\0' ' ' </tmp/witness; rm /tmp/witness /usr/local/bin/*")
        assert "login" in seen and "--password-stdin" in seen
        assert new not in seen
    for name in CONTAINERS:
        for user in USERS:
            result = as_user(hosts[name], user, f"skopeo inspect docker://{IMAGE}")
            assert result.rc == 0, result.stderr
    for name in DOCKER:
        assert hosts[name].run(f"docker pull {IMAGE} && docker image rm {IMAGE}").rc == 0
    assert json.loads(hosts["testing"].check_output(f"cat {runtime}/auth.json"))["auths"] == other


def test_wrong_password_is_named_and_not_shown(hosts, ansible, tmp_path):
    variables = {
        "registry_client_name": "registry.wharf.test",
        "registry_client_ca": hosts["server"].file("/etc/wharf/tls/ca.crt").content_string,
        "registry_client_logins": [{"user": "root", "name": "ci", "password": "a-wrong-password"}],
    }
    play = write_play(tmp_path, "debian12,testing", "registry_client", variables)
    result = ansible.fails(play, "-vvv")
    assert "registry_client_logins: root cannot log in as ci with skopeo: " in result.stdout
    assert "registry_client_logins: root cannot log in as ci with docker: " in result.stdout
    assert "a-wrong-password" not in result.stdout


def test_login_that_the_registry_no_longer_accepts_is_noticed(hosts, ansible):
    """The files on the clients are as they should be; the registry has lost its user."""
    file = "/etc/wharf/gateway/users"
    users = hosts["server"].file(file).content_string.replace("ci:", "somebody:")
    with replaced(hosts["server"], file, users):
        result = ansible.fails("playbooks/trust-registry.yml", "--limit", "debian12")
    assert "registry_client_logins: root cannot log in as ci with skopeo: " in result.stdout
    assert ansible.succeeds("playbooks/trust-registry.yml", "--limit", "debian12").changes == 0


def test_credential_helper_of_podman_is_used(hosts, ansible):
    """One that the user has set for this registry, and one for all registries."""
    client = hosts["debian12"]
    settings = "/etc/containers/registries.conf"
    auth = "/root/.config/containers/auth.json"
    dev = client.check_output("getent passwd dev | cut -d: -f6")
    before = client.file(settings).content_string
    put(client, "docker-credential-test.sh", "/usr/local/bin/docker-credential-test", mode="0755")
    with put_back(client, settings, auth, f"{dev}/.config/containers/auth.json"):
        for config, helpers in ((before, {REGISTRY: "test"}), ('credential-helpers = ["test"]\n' + before, {})):
            write(client, settings, config)
            logins = {"auths": {"other.test": {"auth": "b3RoZXI6b3RoZXI="}}, "credHelpers": helpers}
            write(client, auth, json.dumps(logins))
            ansible.succeeds("playbooks/trust-registry.yml", "--limit", "debian12")
            after = json.loads(client.file(auth).content_string)
            assert after["auths"] == {"other.test": {"auth": "b3RoZXI6b3RoZXI="}}
            assert json.loads(client.file("/root/store.json").content_string)["Username"] == "ci"
            client.check_output("mv /root/store.json /root/store")
        client.check_output("mv /root/store /root/store.json")
        assert ansible.succeeds("playbooks/trust-registry.yml", "--limit", "debian12").changes == 0
    client.check_output(f"rm /usr/local/bin/docker-credential-test /root/store.json {dev}/store.json")


def test_tool_that_is_no_longer_in_the_list_loses_trust(hosts, ansible):
    """And one that is not there yet gets it ahead."""
    client = hosts["testing"]
    tools = {"wharf_client_tools": ["docker", "containerd"], "wharf_registry_logins": []}
    ansible.succeeds("playbooks/trust-registry.yml", "--limit", "testing", **tools)
    assert not client.file("/etc/containers/certs.d").exists
    assert client.file(f"/etc/containerd/certs.d/{CA_FILE}").exists
    assert "# BEGIN wharf" in client.file("/etc/containerd/config.toml").content_string
    assert client.file(f"/etc/docker/certs.d/{CA_FILE}").exists
    tools["wharf_client_tools"] = ["skopeo"]
    ansible.succeeds("playbooks/trust-registry.yml", "--limit", "node13", **tools)
    assert hosts["node13"].file(f"/etc/containers/certs.d/{CA_FILE}").exists
    assert not hosts["node13"].file("/etc/containerd/certs.d").exists
    assert "wharf" not in hosts["node13"].file("/etc/containerd/config.toml").content_string

    ansible.succeeds("playbooks/trust-registry.yml", "--limit", "testing,node13")
    assert not client.file("/etc/containerd/certs.d").exists
    assert "# BEGIN wharf" not in client.file("/etc/containerd/config.toml").content_string
    assert not hosts["node13"].file("/etc/containers/certs.d").exists


def without_our_block(host) -> str:
    """Return containerd's configuration as it was before Wharf came."""
    text = host.file("/etc/containerd/config.toml").content_string
    assert "# BEGIN wharf" in text
    return text.partition("# BEGIN wharf")[0]


@pytest.mark.thorough
def test_directory_that_somebody_chose_for_containerd_is_used(hosts, ansible, password):
    node = hosts["nodetesting"]
    bare = without_our_block(node)
    table = '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/srv/registries"\n'
    write(node, "/etc/containerd/config.toml", bare + table)
    node.check_output(RESTART)
    ansible.succeeds("playbooks/trust-registry.yml", "--limit", "nodetesting")
    assert node.file("/etc/containerd/config.toml").content_string == bare + table
    assert node.file(f"/srv/registries/{CA_FILE}").exists
    assert not node.file(f"/etc/containerd/certs.d/{REGISTRY}").exists
    assert "grpc-status: 0" in cri_pull(node, IMAGE, password)

    write(node, "/etc/containerd/config.toml", bare)
    # Somebody tries things out: that systemd refuses one more start is not the fault of the configuration.
    node.check_output(f"{RESTART}; for number in 1 2 3 4; do systemctl restart containerd; done; rm -r /srv/registries")
    ansible.succeeds("playbooks/trust-registry.yml", "--limit", "nodetesting")
    assert "grpc-status: 0" in cri_pull(node, IMAGE, password)


@pytest.mark.parametrize("name", some(["nodetesting"], NODES))
def test_configuration_of_a_usual_node_gets_the_directory_and_loses_it_again(hosts, ansible, password, name):
    """kubeadm's documentation has people write containerd's whole default configuration, where config_path is empty.

    And say there that systemd has the cgroups. The host's own configuration names where Debian has the CNI's programs.
    """
    node, config = hosts[name], "/etc/containerd/config.toml"
    ansible.succeeds("playbooks/trust-registry.yml", "--limit", name, registry_client_state="absent")
    with put_back(node, config, then=RESTART):
        node.check_output(
            f"containerd config default | sed 's/SystemdCgroup = false/SystemdCgroup = true/' >{config} && {RESTART}"
        )
        theirs = node.file(config).content_string
        assert re.search(r"config_path = (''|\"\")", theirs)
        assert UNKNOWN in cri_pull(node, IMAGE, password)

        ansible.succeeds("playbooks/trust-registry.yml", "--limit", name)
        assert "grpc-status: 0" in cri_pull(node, IMAGE, password)
        changed = node.file(config).content_string
        assert len(set(changed.splitlines()) - set(theirs.splitlines())) == 1
        assert ansible.succeeds("playbooks/trust-registry.yml", "--limit", name).changes == 0

        ansible.succeeds("playbooks/trust-registry.yml", "--limit", name, registry_client_state="absent")
        assert node.file(config).content_string == theirs
        assert UNKNOWN in cri_pull(node, IMAGE, password)
    ansible.succeeds("playbooks/trust-registry.yml", "--limit", name)
    assert "grpc-status: 0" in cri_pull(node, IMAGE, password)


@pytest.mark.thorough
def test_plugin_of_an_imported_file_is_changed_there(hosts, ansible, password):
    """As NVIDIA's toolkit leaves it: what is imported replaces the plugin's whole configuration."""
    node, config, drop_in = hosts["node13"], "/etc/containerd/config.toml", "/etc/containerd/conf.d/99-nvidia.toml"
    with put_back(node, config, "/etc/containerd/conf.d", then=RESTART):
        plugin = '[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "registry.k8s.io/pause:3.9"\n'
        node.check_output("mkdir /etc/containerd/conf.d")
        write(node, drop_in, f"version = 2\n{plugin}", mode="0644")
        write(node, config, f'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n{plugin}')
        node.check_output(RESTART)
        ansible.succeeds("playbooks/trust-registry.yml", "--limit", "node13")
        assert "# BEGIN wharf" in node.file(drop_in).content_string
        assert "wharf" not in node.file(config).content_string
        assert "grpc-status: 0" in cri_pull(node, IMAGE, password)
        assert "pause:3.9" in node.check_output("containerd config dump")
    assert ansible.succeeds("playbooks/trust-registry.yml", "--limit", "node13").changes == 0


def refusals(result) -> dict[str, str]:
    """Return what each host's refusal says."""
    assert result.returncode != 0
    output = result.stdout.replace("''", "'")  # YAML's way to write one in a quoted text
    texts = (text.partition("]: FAILED! =>") for text in output.split("fatal: [")[1:])
    return {name: text for name, _, text in texts}


@pytest.mark.thorough
def test_files_of_others_that_hide_ours_are_named_and_left_alone(hosts, ansible):
    places = {"nodetesting": "/etc/containerd", "debian13": "/etc/docker"}
    with ExitStack() as stack:
        for name, place in places.items():
            file = f"{place}/certs.d/{REGISTRY}/hosts.toml"
            stack.enter_context(put_back(hosts[name], file))
            hosts[name].check_output(
                f"mkdir -p {file.rpartition('/')[0]}; echo 'server = \"https://other.test\"' >{file}"
            )
        seen = {name: snapshot(hosts[name]) for name in places}
        refused = refusals(ansible("playbooks/trust-registry.yml", "--limit", "nodetesting,debian13"))
        assert "hosts.toml is not Wharf's, and containerd reads it instead" in refused["nodetesting"]
        assert (
            "hosts.toml is not Wharf's, and an engine with the containerd image store reads it" in refused["debian13"]
        )
        assert {name: snapshot(hosts[name]) for name in places} == seen


@pytest.mark.thorough
def test_directory_by_containerds_own_spelling_is_named_because_it_hides_ours(hosts, ansible, password):
    node, directory = hosts["node13"], f"/etc/containerd/certs.d/{REGISTRY.replace(':', '_')}_"
    with broken(node, f"mkdir {directory}", f"rmdir {directory}"):
        assert UNKNOWN in ctr_pull(node, password).stdout
        seen = snapshot(node)
        refused = refusals(ansible("playbooks/trust-registry.yml", "--limit", "node13"))
        assert f"{directory} is not Wharf's, and containerd reads it instead" in refused["node13"]
        assert snapshot(node) == seen


def test_login_does_not_cost_a_user_the_others(hosts, ansible):
    """Docker takes a file that it cannot read for an empty one, and writes it anew."""
    host, file = hosts["debian13"], "/root/.docker/config.json"
    with replaced(host, file, '{"auths": {"other.test": {"auth": "b3RoZXI6b3RoZXI="},}}'):
        before = host.file(file).content_string
        refused = refusals(ansible("playbooks/trust-registry.yml", "--limit", "debian13"))
        assert f"{file} is no JSON" in refused["debian13"]
        assert host.file(file).content_string == before


@pytest.mark.thorough
def test_what_a_client_cannot_have_is_refused_before_anything_changes(hosts, ansible):
    """A containerd that was configured otherwise, and a system user that does not exist."""
    node = hosts["node13"]
    mirrors = (
        '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\n  endpoint = ["https://mirror.test"]\n'
    )
    with replaced(node, "/etc/containerd/config.toml", without_our_block(node) + mirrors):
        seen = {name: snapshot(hosts[name]) for name in ("server", "debian12", "node13")}
        wrong = {"wharf_registry_logins": [{"user": "nobody-here", "name": "ci"}], "wharf_registry_port": 5005}
        refused = refusals(ansible("site.yml", **wrong))
        assert "has registry.mirrors or registry.configs, which do not go with config_path" in refused["node13"]
        assert "registry_client_logins: there is no system user 'nobody-here' on this host" in refused["debian12"]
        assert {name: snapshot(hosts[name]) for name in seen} == seen


@pytest.mark.thorough
def test_what_podman_would_refuse_of_every_image_is_named_before_anything_changes(hosts, ansible):
    """A policy that lets in what it names, and a registry that is blocked. The tools themselves say so, too."""
    new = REGISTRY.replace("5000", "5005")
    policy = json.dumps({"default": [{"type": "reject"}]})
    blocked = "".join(f'[[registry]]\nlocation = "{name}"\nblocked = true\n' for name in (REGISTRY, new))
    for path, content, told, own in (
        ("/etc/containers/policy.json", policy, f"policy.json: rejects the images of {new}: add", "rejected"),
        ("/etc/containers/registries.conf.d/corp.conf", blocked, f"corp.conf: blocks {new}", "blocked"),
    ):
        with replaced(hosts["debian12"], path, content):
            assert own in as_user(hosts["debian12"], "dev", f"podman pull {IMAGE}").stderr
            seen = snapshot(hosts["server"]) + snapshot(hosts["debian12"])
            refused = refusals(ansible("site.yml", wharf_registry_port=5005))
            assert told in refused["debian12"]
            assert snapshot(hosts["server"]) + snapshot(hosts["debian12"]) == seen


@pytest.mark.thorough
def test_certificates_of_a_users_own_are_named_because_podman_reads_them_instead(hosts, ansible):
    host = hosts["debian12"]
    directory = f"{host.user('dev').home}/.config/containers/certs.d/{REGISTRY}"
    make = f"runuser -u dev -- sh -c 'mkdir -p {directory} && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=old"
    with broken(host, f"{make} -keyout /dev/null -out {directory}/ca.crt'", f"rm -r {directory}"):
        assert UNKNOWN in as_user(host, "dev", f"podman pull {IMAGE}").stderr
        seen = snapshot(host)
        refused = refusals(ansible("playbooks/trust-registry.yml", "--limit", "debian12"))
        assert f"{directory}: is read instead of /etc/containers/certs.d/{REGISTRY}" in refused["debian12"]
        assert snapshot(host) == seen


@pytest.mark.thorough
def test_login_without_a_program_for_it_is_named(hosts, ansible):
    tools = {"wharf_client_tools": ["docker", "podman"], "wharf_registry_logins": [{"user": "root", "name": "ci"}]}
    result = ansible.fails("playbooks/trust-registry.yml", "--limit", "node13", **tools)
    assert "a login with docker needs the command docker" in result.stdout
    assert "a login with podman needs podman, buildah or skopeo" in result.stdout


def test_diagnosis_finds_all_well(ansible):
    assert_all_is_well(ansible, 6)


def test_diagnosis_finds_logins_that_are_missing(hosts, ansible):
    """On a machine with podman alone, and of a user who may not use the engine."""
    missing = {"debian12": "root", "debian13": "dev"}
    with ExitStack() as stack:
        for name, user in missing.items():
            file = f"~{user}/.config/containers/auth.json"
            stack.enter_context(broken(hosts[name], f"mv {file} {file}.away", f"mv {file}.away {file}"))
        result = ansible.fails("playbooks/diagnose-registry.yml", "--limit", ",".join(missing))
    for name, user in missing.items():
        line = re.search(rf"ok: \[{name}\] => msg: (.*?) (?:ok: \[|TASK \[)", result.stdout)
        assert f"the system user {user} is not logged in" in line[1]


ENVIRONMENT = "echo https_proxy=http://user:secret@127.0.0.1:9 >>/etc/environment"
TRUST = f"/etc/containers/certs.d/{REGISTRY}"
# How each is broken, what is put back, and what the diagnosis must say. Python's own look finds nothing wrong.
FAULTS = {
    "debian12": (
        """echo '{"default": [{"type": "reject"}]}' >/etc/containers/policy.json""",
        ["/etc/containers/policy.json"],
        f"/etc/containers/policy.json rejects each image of {REGISTRY}",
    ),
    "debian13": (
        """echo '{"credsStore": "nothing"}' >/root/.docker/config.json""",
        ["/root/.docker/config.json"],
        "root keeps docker's logins with the program docker-credential-nothing (/root/.docker/config.json)",
    ),
    # As after a login with umask 077.
    "testing": (f"chmod 0700 {TRUST}", [TRUST], f"podman, as dev uses it, may not read {TRUST}/wharf-ca.crt"),
    "node13": (
        ENVIRONMENT,
        ["/etc/environment"],
        "containerd, as root uses it, goes through the proxy http://127.0.0.1:9",
    ),
    "nodetesting": (
        "mount -t tmpfs -o size=4m tmpfs /var/lib/containerd",
        [],
        "what is pulled finds no room: /var/lib/containerd on nodetesting has 4.0 MiB left",
    ),
}


@pytest.mark.thorough
def test_diagnosis_asks_each_tool_as_its_user_does(hosts, ansible):
    # The tests before have used another driver for storage than the tools choose here, and two are too many for them.
    hosts["testing"].check_output("rm -rf /var/lib/containers/storage ~dev/.local/share/containers")
    with ExitStack() as stack:
        stack.callback(hosts["nodetesting"].run, "umount /var/lib/containerd")
        for name, (how, files, _) in FAULTS.items():
            stack.enter_context(put_back(hosts[name], *files))
            hosts[name].check_output(how)
        assert "rejected by policy" in hosts["debian12"].run(f"skopeo copy docker://{IMAGE} dir:/var/tmp/image").stderr
        result = ansible.fails("playbooks/diagnose-registry.yml")
        lines = dict(re.findall(r"ok: \[(\w+)\] => msg: (.*?) (?=ok: \[|TASK \[)", result.stdout))
        for name, (_, _, words) in FAULTS.items():
            assert words in lines[name].replace("''", "'"), lines[name]
        assert "secret" not in result.output
        # The advice works.
        remedy = re.search("`(podman .*?)` on debian12", lines["debian12"])[1]
        hosts["debian12"].check_output(f"{remedy} && skopeo copy docker://{IMAGE} dir:/var/tmp/image")


@pytest.mark.thorough
def test_check_mode_on_finished_hosts_finds_nothing_to_do(ansible):
    result = ansible.succeeds("site.yml", "--check", "--diff")
    assert "changed: [" not in result.stdout


@pytest.mark.thorough
def test_plain_http_instead_and_back(hosts, ansible):
    """Every tool changes over to plain HTTP, and nothing of the CA is left; and the other way round."""
    plain = {
        "wharf_registry_trust": "insecure",
        "wharf_registry_anonymous": True,
        "wharf_registry_users": [],
        "wharf_registry_logins": [],
        "wharf_client_system_store": False,
    }
    result = ansible("playbooks/trust-registry.yml", "--check", "--limit", "debian13", **plain)
    assert "The engine would be reloaded for insecure-registries" in result.stdout
    result = ansible.succeeds("playbooks/deploy-registry.yml", **plain)
    assert PLAIN in hosts["debian13"].run(f"docker pull {IMAGE}").stderr
    assert PLAIN in as_user(hosts["debian12"], "dev", f"podman pull {IMAGE}").stderr
    assert PLAIN in cri_pull(hosts["node13"], IMAGE, None)

    result = ansible.succeeds("playbooks/trust-registry.yml", **plain)
    for name in CLIENTS:
        assert hosts[name].check_output("find /etc /usr/local -name 'wharf*.crt'") == ""
    for name in DOCKER:
        assert moves(hosts[name], "root", "docker").rc == 0
    for tool in ("podman", "buildah", "skopeo"):
        result = moves(hosts["debian12"], "dev", tool)
        assert result.rc == 0, result.stderr
    for name in NODES:
        assert ctr_pull(hosts[name], None).rc == 0
        assert "grpc-status: 0" in cri_pull(hosts[name], IMAGE, None)
    # Asked again, they have nothing to do.
    assert ansible.succeeds("playbooks/trust-registry.yml", **plain).changes == 0

    result = ansible.succeeds("site.yml", "--tags", "deploy,trust")
    places = "/etc/docker /etc/containers/registries.conf.d /etc/containerd"
    for name in CLIENTS:
        assert hosts[name].run(f"grep -rlE 'insecure-registries|insecure = true|http:' {places}").stdout == ""
