#!/usr/bin/python
"""Ansible module: write and remove several small files of root's in one visit."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_files
short_description: Write and remove several small text files in one visit
description:
  - M(ansible.builtin.copy) needs two visits for each file. Where a dozen files come from the same place, this needs one
    for all of them.
  - Each file is replaced as a whole, at once, and belongs to root. Missing directories above it are made, with mode
    V(0755).
options:
  files:
    description:
      - The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - The absolute path of the file.
        type: path
        required: true
      mode:
        description:
          - Its permissions, an octal number in quotes.
        type: str
        default: "0644"
      content:
        description:
          - The whole text, or C(base64:) and the whole content in base64. Without any, the file is removed.
        type: str
        default: ""
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Install a program and its settings, and remove what it had before
  host_files:
    files:
      - path: /usr/local/sbin/hello
        mode: "0755"
        content: |
          #!/bin/sh
          . /etc/hello.conf
          echo "$GREETING"
      - path: /etc/hello.conf
        content: |
          GREETING=hello
      - path: /etc/hello.old
"""

RETURN = r"""
paths:
  description: The files that were written or removed, or would be.
  returned: always
  type: list
  elements: str
  sample: [/usr/local/sbin/hello]
"""

import base64
import os
import stat
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def seen(path: str) -> tuple[int, int, int, bytes] | None:
    """Return owner, group, mode and content of a file; None where there is none.

    Raises:
        OSError: there is something else than a file, or it cannot be read.
    """
    try:
        facts = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(facts.st_mode):
        return facts.st_uid, facts.st_gid, -1, os.fsencode(os.readlink(path))  # is replaced, never followed
    with open(path, "rb") as file:
        return facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode), file.read()


def put(path: str, mode: int, content: bytes) -> None:
    """Write a file, from one whole content to the other.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    descriptor, new = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            os.fchown(descriptor, 0, 0)
            os.fchmod(descriptor, mode)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def content_bytes(content: str) -> bytes:
    """Return the bytes of a file's content, which is text, or base64 behind "base64:"."""
    return base64.b64decode(content[7:]) if content.startswith("base64:") else content.encode()


def main() -> None:
    """Run the module."""
    file = {
        "path": {"type": "path", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "content": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": file}},
        supports_check_mode=True,
    )
    os.umask(0o022)
    paths: list[str] = []
    diff: list[dict[str, str]] = []
    # What is written at -vvv as well: not the contents.
    shown = {"module_args": {"files": [{**file, "content": "(not shown)"} for file in module.params["files"]]}}
    for wanted in module.params["files"]:
        path, mode, content = wanted["path"], int(wanted["mode"], 8), content_bytes(wanted["content"])
        try:
            before = seen(path)
            if before == ((0, 0, mode, content) if content else None):
                continue
            if not module.check_mode:
                if content:
                    put(path, mode, content)
                else:
                    os.unlink(path)
        except OSError as error:
            module.fail_json(msg=f"{path}: {error.strerror}", paths=paths, invocation=shown)
        paths.append(path)
        diff.append(told(path, before, mode, content))
    result: dict[str, Any] = {"changed": bool(paths), "paths": paths, "diff": diff, "invocation": shown}
    module.exit_json(**result)


def told(path: str, before: tuple[int, int, int, bytes] | None, mode: int, content: bytes) -> dict[str, str]:
    """Return what --diff shows of a file."""
    had = f"{before[0]}:{before[1]} {before[2]:04o}" if before else "absent"
    return {
        "before_header": f"{path} ({had})",
        "before": before[3].decode(errors="replace") if before else "",
        "after_header": f"{path} ({f'0:0 {mode:04o}' if content else 'absent'})",
        "after": content.decode(errors="replace"),
    }


if __name__ == "__main__":
    main()
