"""Holds the locks of apt and dpkg, as unattended upgrades do, until five seconds after apt-get has wanted them."""

import fcntl
import glob
import os
import time

LOCKS = ("/var/lib/apt/lists/lock", "/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock")
for lock in [os.open(path, os.O_RDWR | os.O_CREAT, 0o640) for path in LOCKS]:
    fcntl.lockf(lock, fcntl.LOCK_EX)


def wants(path: str) -> bool:
    try:
        with open(path) as file:
            words = file.read().split("\0")
    except OSError:
        return False
    return "apt-get" in words[0] and "--config-file" not in "".join(words)


while not any(map(wants, glob.glob("/proc/[0-9]*/cmdline"))):
    time.sleep(0.2)
time.sleep(5)
