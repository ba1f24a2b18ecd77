"""Ask each registry as our own programs do: judge-certificates.py DIRECTORY; a line for each: port, what is wrong.

The directory holds the package module_utils, and for each registry PORT.ca, the CAs, and PORT.name, its name.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from module_utils import api
from module_utils.errors import WharfError

for path in sorted(Path(sys.argv[1]).glob("*.ca")):
    found = "taken"
    try:
        with api.Client(path.with_suffix(".name").read_text().strip(), int(path.stem), api.trust(str(path))) as client:
            client.ping()
    except WharfError as error:
        found = str(error)
    print(path.stem, found)
