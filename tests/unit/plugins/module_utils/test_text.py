"""Numbers, messages and tables as people read them."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import text


@pytest.mark.parametrize(
    ("number", "noun", "wanted"),
    [
        (1, "tag", "1 tag"),
        (0, "tag", "0 tags"),
        (2, "day", "2 days"),
        (2, "repository", "2 repositories"),
        (1, "repository", "1 repository"),
    ],
)
def test_pluralize(number: int, noun: str, wanted: str) -> None:
    assert text.pluralize(number, noun) == wanted


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(-5, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (7200, "2 hours"), (500 * 86400.0, "500 days")],
)
def test_age_has_the_largest_unit_of_which_there_are_two(seconds: float, wanted: str) -> None:
    assert text.age(seconds) == wanted


@pytest.mark.parametrize(
    ("size", "wanted"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (8 << 20, "8.0 MiB"), (1 << 41, "2.0 TiB")],
)
def test_human_bytes(size: int, wanted: str) -> None:
    assert text.human_bytes(size) == wanted


def test_table_aligns_its_columns_and_ends_no_line_with_spaces() -> None:
    assert text.table([("a", "long", "x"), ("bcd", "s", "")]) == ["a    long  x", "bcd  s"]


def test_one_line_is_short() -> None:
    assert text.one_line(" a\n  b\t") == "a b"
    assert text.one_line("x" * 20, 10) == "xxxxxxx..."
