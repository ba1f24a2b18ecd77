"""What restic's output tells of a damaged backup."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import check_backup


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("pack {a} contains 2 errors: [blob {b}: decrypting blob <data/bbbbbbbb> from aaaaaaaa failed", {"blob": "b"}),
        ("Pack ID does not match, want {a}, got {b}", {"pack": "a"}),  # 0.14
        ("pack {a}: does not exist", {"pack": "a"}),
        ("restic repair packs {a}", {}),
    ],
)
def test_what_restic_finds_damaged_is_understood(line, found):
    said = [line.format(a="a" * 64, b="b" * 64)] * 2
    assert check_backup.damaged_parts(said) == {
        kind: [found[kind] * 64] if kind in found else [] for kind in ("blob", "pack")
    }
