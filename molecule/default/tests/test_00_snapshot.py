"""What the roles leave on the hosts. The file's name makes it the first test: the others change the hosts."""

from __future__ import annotations


def test_hosts_are_as_the_snapshot_says(compare_with_snapshot):
    compare_with_snapshot()
