#!/usr/bin/python3
"""Log system users in to a container registry, each with their own tools, or out of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_login
short_description: Log system users in to a container registry, or out of it
description:
  - Each user logs in with their own C(docker login), and with C(login) of skopeo, podman or buildah, which share a
    file. So credential stores and helpers that the user has set are used, and other registries' entries stay.
  - The login is tried on every run, so that a password that no longer holds is noticed.
  - A user who may not use the engine is logged in with the other tools only, where there are others.
  - What is in the way of the login is taken away, which is an older entry for this registry in the file that podman
    keeps until the next boot.
  - Does not fail when a login fails, because its task hides what it says. RV(problems) tells.
options:
  registry:
    description: The registry as it stands in image references, NAME:PORT.
    type: str
    required: true
  state:
    description: V(absent) logs out.
    type: str
    choices: [present, absent]
    default: present
  tools:
    description: V(docker), and V(containers) for podman, buildah and skopeo.
    type: list
    elements: str
    choices: [docker, containers]
    required: true
  logins:
    description: Who logs in.
    type: list
    elements: dict
    required: true
    suboptions:
      user:
        description: The system user.
        type: str
        required: true
      name:
        description: The registry's user.
        type: str
        required: true
      password:
        description: Its password. It reaches the tools on their standard input.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: Log the user deploy in
  registry_login:
    registry: registry.example.com:5000
    tools: [docker]
    logins:
      - {user: deploy, name: robot, password: "{{ vault_robot }}"}
"""

RETURN = r"""
problems:
  description: A line for each login that failed, without a password.
  type: list
  elements: str
  returned: always
"""

import pwd

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.auth_files import as_user, one_user


def main() -> None:
    """Entry point."""
    login = {
        "user": {"type": "str", "required": True},
        "name": {"type": "str", "required": True},
        "password": {"type": "str", "default": "", "no_log": True},
    }
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "tools": {"type": "list", "elements": "str", "choices": ["docker", "containers"], "required": True},
            "logins": {"type": "list", "elements": "dict", "options": login, "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    changed, problems = False, []
    for item in wanted["logins"]:
        try:
            user = pwd.getpwnam(item["user"])
        except KeyError:
            if wanted["state"] == "present":
                problems.append(f"registry_client_logins: there is no system user {item['user']}")
            continue

        def work(item: dict = item, user: pwd.struct_passwd = user) -> dict:
            place = (item, user.pw_dir, wanted["registry"], wanted["tools"], wanted["state"], module.check_mode)
            return one_user(*place)

        done = as_user(user, work)
        changed = changed or done["changed"]
        problems += done["problems"]
    module.exit_json(changed=changed, problems=problems)


if __name__ == "__main__":
    main()
