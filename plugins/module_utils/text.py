"""Numbers, sizes, messages and tables as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence


def human_bytes(size: float) -> str:
    """Return a number of bytes as a person reads it: "512 bytes", "1.5 MiB"."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def age(seconds: float) -> str:
    """Return a span of time as a person reads it: the largest unit of which there are two."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return pluralize(int(seconds // size), unit)
    return pluralize(max(0, int(seconds)), "second")


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun: 1 tag, 2 tags, 2 days, 2 repositories."""
    if number == 1:
        return f"1 {noun}"
    plural = noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"
    return f"{number} {plural}"


def one_line(text: object, length: int = 300) -> str:
    """Return a text on one line, its end cut off where it is longer than this many characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 3] + "..."


def without_logins(text: str) -> str:
    """Return a text without the names and passwords that URLs in it hold."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def table(rows: Sequence[Sequence[object]]) -> list[str]:
    """Return rows as lines, their columns aligned; each row has the same number of cells."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
