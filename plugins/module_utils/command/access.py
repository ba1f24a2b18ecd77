"""Say what a user may do in a repository, and because of which rule; without a user, what each of them may do.

It tells what was deployed last. The repository need not exist.
"""

from __future__ import annotations

import argparse
import re

from ..access import LEVELS, LONGEST, level_of
from ..errors import WharfError
from ..references import PATH
from ..text import table
from .cli import Task
from .registry import Registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("user", metavar="NAME", nargs="?", help="a user of the registry; all of them when left out")
    parser.add_argument("repository", metavar="REPOSITORY", help="such as team/app")


def run(task: Task) -> str:
    """Tell what users may do."""
    registry, name, repository = Registry(), task.options.user, task.options.repository
    if not re.fullmatch(PATH, repository) or len(repository) > LONGEST:
        raise WharfError(f"{repository!r} is not a repository: use its name without the registry and a tag")
    if not registry.users:
        task.result["users"] = []
        return task.line(f"everybody may {LEVELS[2]}: the registry is open to everyone")
    names = [user["name"] for user in registry.users]
    if name and name not in names:
        raise WharfError(f"the registry has no user {name}: `wharf access {repository}` names all of them")
    answers = [(one, *level_of(registry.users, registry.rules, one, repository)) for one in ([name] if name else names)]
    task.result["users"] = [{"name": one, "level": level, "reason": reason} for one, level, reason in answers]
    for line in table([(one, LEVELS[level], reason) for one, level, reason in answers]):
        task.line(line)
    return ""
