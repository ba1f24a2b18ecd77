#!/usr/bin/python
"""Ansible module: write and remove several small files and directories in one visit."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_files
short_description: Write and remove several small files and directories in one visit
description:
  - M(ansible.builtin.copy) needs two visits for each file. Where a dozen files come from the same place, this needs one
    for all of them.
    Each file is replaced as a whole, at once. Missing directories above it are made, with mode V(0755).
options:
  directories:
    description: Directories, made before the files.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The absolute path., type: path, required: true}
      mode: {description: "The permissions, an octal number in quotes.", type: str, default: "0755"}
      uid: {description: The number of the owner., type: int, default: 0}
      gid: {description: The number of the group., type: int, default: 0}
  files:
    description: The files.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The absolute path., type: path, required: true}
      mode: {description: "The permissions, an octal number in quotes.", type: str, default: "0644"}
      uid: {description: The number of the owner., type: int, default: 0}
      gid: {description: The number of the group., type: int, default: 0}
      content:
        description:
          - The whole text, or C(base64:) and the whole content in base64. Without any, the file is removed.
        type: str
        default: ""
  remove:
    description: Files, and directories with all that is in them, to remove.
    type: list
    elements: path
    default: []
  remove_empty:
    description: Directories to remove if nothing is left in them, after everything else.
    type: list
    elements: path
    default: []
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- wharf.registry.host_files:
    files:
      - {path: /etc/hello/hello.conf, content: "GREETING=hello\n"}
      - path: /etc/hello.old
"""

RETURN = r"""
paths: {description: "What was written or removed, or would be.", type: list, elements: str, returned: always}
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.errors import message_of
from ansible_collections.wharf.registry.plugins.module_utils.files import Changes, Entry, decode


def entry(wanted: dict[str, Any], content: bytes | None) -> Entry:
    """Return a file or a directory as it should be."""
    return Entry(wanted["uid"], wanted["gid"], int(wanted["mode"], 8), content)


def run(changes: Changes, wanted: dict[str, Any]) -> None:
    """Bring everything to how it should be.

    Raises:
        OSError: something cannot be changed.
    """
    for directory in wanted["directories"]:
        changes.put(directory["path"], entry(directory, None))
    for file in wanted["files"]:
        changes.put(file["path"], entry(file, decode(file["content"])) if file["content"] else None)
    for path in wanted["remove"]:
        changes.remove(path)
    for path in wanted["remove_empty"]:
        changes.remove_empty(path)


def main() -> None:
    """Run the module."""
    owner = {"uid": {"type": "int", "default": 0}, "gid": {"type": "int", "default": 0}}
    directory = {"path": {"type": "path", "required": True}, "mode": {"type": "str", "default": "0755"}, **owner}
    file = {**directory, "mode": {"type": "str", "default": "0644"}, "content": {"type": "str", "default": ""}}
    module = AnsibleModule(
        argument_spec={
            "directories": {"type": "list", "elements": "dict", "default": [], "options": directory},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file},
            "remove": {"type": "list", "elements": "path", "default": []},
            "remove_empty": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    changes = Changes(module.check_mode)
    # What is written at -vvv as well: not the contents.
    shown = {"files": [{**file, "content": "(not shown)"} for file in module.params["files"]]}
    result = {"paths": changes.paths, "invocation": {"module_args": module.params | shown}}
    try:
        run(changes, module.params)
    except OSError as error:
        module.fail_json(msg=message_of(error), **result)
    module.exit_json(changed=bool(changes.paths), diff=changes.diff, **result)


if __name__ == "__main__":
    main()
