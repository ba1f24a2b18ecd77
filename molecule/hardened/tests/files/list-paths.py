"""Lists what root opened, made, moved, removed or connected to where others than root can write, from strace's files.

    python3 list-paths.py FILE...

A line for each, "read PATH" or "write PATH", as the kernel saw it: links are resolved where something was opened.
"""

import os
import re
import stat
import sys

LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(.*)")
FORKS = ("clone", "clone3", "fork", "vfork")
SETUIDS = {"setuid": 0, "setreuid": 1, "setresuid": 1}  # and which argument is the effective user
NAME = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
OPENED = re.compile(r"= \d+<([^>]*)>$")
NOT_ON_DISK = ("/proc/", "/sys/", "/dev/null", "/dev/tty", "/dev/pts/", "/dev/urandom")

owned = {}  # directory: whether others than root can write there, or in one above it


def is_others(directory: str) -> bool:
    """Tell whether others can make something there. What is gone since was like the directory that it was in."""
    if directory not in owned:
        above = directory != "/" and is_others(os.path.dirname(directory))
        try:
            facts = os.stat(directory)
        except OSError:
            owned[directory] = above
        else:
            group = facts.st_gid != 0 and facts.st_mode & stat.S_IWGRP
            owned[directory] = bool(above or facts.st_uid or group or facts.st_mode & stat.S_IWOTH)
    return owned[directory]


def calls_in(name: str) -> list:
    """Return the calls in a file: process, name, and the rest; one that others came between is put together again."""
    calls, begun = [], {}
    with open(name, errors="replace") as file:
        for process, call, rest in (match.groups() for match in map(LINE.match, file) if match):
            if rest.endswith("<unfinished ...>"):
                begun[process] = rest[: -len("<unfinished ...>")]
            else:
                calls.append((process, call, begun.pop(process, "") + rest.partition("resumed>")[2] or rest))
    return calls


def by_root(calls: list) -> list:
    """Return whether each call is root's: a process may act as another user for a while, and so do its children."""
    parent, users = {}, {}
    for number, (process, call, rest) in enumerate(calls):
        users.setdefault(process, [(number, None)])
        if call in FORKS and (child := re.search(r"= (\d+)$", rest)):
            parent[child[1]] = process
        elif call in SETUIDS and rest.endswith("= 0"):
            user = re.findall(r"-?\d+", rest)[SETUIDS[call]]
            if user != "-1":
                users[process].append((number, user == "0"))

    def is_root(process: str, number: int) -> bool:
        last = [is_root for start, is_root in users[process] if start <= number][-1:]
        if last and last[0] is not None:
            return last[0]
        # What it was when its parent made it.
        return process not in parent or is_root(parent[process], users[process][0][0])

    return [is_root(process, number) for number, (process, _, _) in enumerate(calls)]


def paths(name: str) -> set:
    """Return what root's processes have done: "read" or "write", and the path."""
    found = set()
    calls = calls_in(name)
    for is_root, (_, call, rest) in zip(by_root(calls), calls, strict=True):
        if call in FORKS or call in SETUIDS or not is_root:
            continue
        verb = "read" if call == "execve" or "O_RDONLY" in rest and "O_CREAT" not in rest else "write"
        if (opened := OPENED.search(rest)) and opened[1].startswith("/"):  # and no net:[4026531840]
            found.add((verb, opened[1]))
        else:
            names = NAME.findall(rest.partition("[")[0])[-1 if call.startswith("symlink") else 0 :]
            found |= {(verb, os.path.join(place or "/", path)) for place, path in names}
    return found


for verb, path in sorted(set().union(*map(paths, sys.argv[1:]))):
    path = os.path.normpath(path)
    if not path.startswith(NOT_ON_DISK) and is_others(os.path.dirname(path)):
        print(verb, path)
