"""Keeps the bytecode of what root's programs import from zip files, on the hosts of the tests.

Ansible's modules and the command wharf are zip files, and Python compiles what is in one anew at each start: about half
of the processor time that a module takes, and a scenario runs thousands. Nothing else differs: what is kept is
found by the source's hash and by Python's version.
"""

# Only what Python itself has loaded by now, because each program of root's loads this.
import _imp
import marshal
import os
import zipimport
from _frozen_importlib_external import MAGIC_NUMBER

PLACE = "/var/cache/lab-bytecode"
compile_source = zipimport._compile_source


def kept(pathname, source):
    """Return the code of a source, as zipimport's own function does."""
    path = f"{PLACE}/{MAGIC_NUMBER.hex()}-{_imp.source_hash(len(source), bytes(source)).hex()}"
    try:
        with open(path, "rb") as file:
            code = marshal.load(file)
        _imp._fix_co_filename(code, pathname)
    except (OSError, ValueError, EOFError, TypeError):
        code = compile_source(pathname, source)
        keep(path, code)
    return code


def keep(path, code):
    """Keep a code for the next time, if there is room."""
    try:
        os.makedirs(PLACE, 0o700, exist_ok=True)
        with open(f"{path}.{os.getpid()}", "wb") as file:
            marshal.dump(code, file)
        os.replace(file.name, path)
    except OSError:
        pass


if os.geteuid() == 0:
    zipimport._compile_source = kept
