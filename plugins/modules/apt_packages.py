#!/usr/bin/python
"""Ansible module: install packages although a source of somebody else's keeps apt from fetching its lists."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apt_packages
short_description: Install packages although a source of somebody else's keeps apt from fetching its lists
description:
  - For a rescue. M(ansible.builtin.apt) gives up when one source cannot be used, whatever that has to do with the
    packages, and does not say which. This takes the packages from the lists that apt could fetch, and warns of the
    source, in apt's words and with the file's name. Where they are not to be had so, it fails with the same.
options:
  names: {description: The packages., type: list, elements: str, required: true}
  otherwise: {description: "What is said on a host without apt, where it fails.", type: str, default: ""}
attributes:
  check_mode: {support: full}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- block:
    - ansible.builtin.package: {name: restic, update_cache: true}
  rescue:
    - wharf.registry.apt_packages: {names: [restic], otherwise: "{{ ansible_failed_result.msg }}"}
"""

RETURN = r"""
changed: {description: Always true., type: bool, returned: success}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.engine_packages import complaints, run, sources_problem
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.processes import has

LOCK = "-oDPkg::Lock::Timeout=600"  # seconds: an unattended upgrade may be at work


def install(names: list[str]) -> str:
    """Install packages; return what is wrong with a source that was not needed.

    Raises:
        WharfError: they cannot be installed.
    """
    updated = run("apt-get", "-oAcquire::Retries=0", LOCK, "update")
    problem = sources_problem(updated.stdout) if updated.returncode else ""
    done = run("apt-get", "--yes", "--no-install-recommends", LOCK, "install", *names)
    if done.returncode:
        reason = complaints(done.stdout, " ".join(done.stdout.split())[-400:])
        raise WharfError(problem or f"{' and '.join(names)} cannot be installed: {reason}")
    return problem


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "otherwise": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    if not has("apt-get"):
        module.fail_json(msg=module.params["otherwise"])
    if not module.check_mode:
        try:
            if problem := install(module.params["names"]):
                module.warn(problem)
        except WharfError as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
