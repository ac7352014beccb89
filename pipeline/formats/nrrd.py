"""The header of a NRRD volume, looked at before a native reader gets the file.

Damaged headers make such readers crash with the process. Fields, their form and the sizes that they state are
held against the definition of the format (teem.sourceforge.net/nrrd/format.html) and against the file.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from pipeline.errors import DataError
from pipeline.files import shown

MOST_HEADER = 1 << 16  # bytes
LONGEST_LINE = 1000
MOST_VOXELS = 4 * 10**9  # the CCFv3 at 10 um has 1.2 billion
MAGIC = re.compile(rb"NRRD000[1-5]")
NUMBER = r"[-+]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,3})?|nan|NaN|none"
VECTOR = rf"(?:none|\((?:{NUMBER})(?:,\s*(?:{NUMBER})){{2}}\))"
NUMBERS = rf"(?:{NUMBER})(?:\s+(?:{NUMBER}))*"
QUOTED = r"(?:\"[^\"]{0,40}\"\s*){1,4}"
TYPES = {
    "int8": 1, "signed char": 1, "uchar": 1, "unsigned char": 1, "uint8": 1, "uint8_t": 1, "int8_t": 1,
    "short": 2, "int16": 2, "int16_t": 2, "ushort": 2, "unsigned short": 2, "uint16": 2, "uint16_t": 2,
    "int": 4, "int32": 4, "int32_t": 4, "uint": 4, "unsigned int": 4, "uint32": 4, "uint32_t": 4,
    "longlong": 8, "int64": 8, "int64_t": 8, "ulonglong": 8, "uint64": 8, "uint64_t": 8,
    "float": 4, "double": 8,
}  # fmt: skip
FORMS = {
    "type": "|".join(map(re.escape, TYPES)),
    "dimension": "3",
    "sizes": r"\d{1,9}\s+\d{1,9}\s+\d{1,9}",
    "encoding": "raw|gzip|gz",
    "endian": "little|big",
    "space": r"[\w-]{1,60}",
    "space dimension": "3",
    "space directions": rf"{VECTOR}(?:\s+{VECTOR}){{2}}",
    "space origin": VECTOR,
    "space units": QUOTED,
    "spacings": NUMBERS,
    "thicknesses": NUMBERS,
    "axis mins": NUMBERS,
    "axis maxs": NUMBERS,
    "kinds": r"[\w?-]+(?:\s+[\w?-]+){2}",
    "centers": r"[\w?-]+(?:\s+[\w?-]+){2}",
    "centerings": r"[\w?-]+(?:\s+[\w?-]+){2}",
    "labels": QUOTED,
    "units": QUOTED,
    "content": ".*",
    "min": NUMBER,
    "max": NUMBER,
    "old min": NUMBER,
    "old max": NUMBER,
    "number": r"\d{1,12}",
}
NEEDED = ("type", "dimension", "sizes", "encoding")


def check_nrrd(path: Path) -> None:
    """Raise DataError for a header that is damaged, states another size than the file's, or names a file."""
    with path.open("rb") as file:
        head = file.read(MOST_HEADER)
    end = re.search(rb"\r?\n\r?\n", head)
    if not MAGIC.match(head) or end is None:
        raise DataError(f"{path}: expected a NRRD volume, got no such header; download it again")
    fields: dict[str, str] = {}
    for line in head[: end.start()].splitlines()[1:]:
        if line.startswith(b"#") or b":=" in line[:LONGEST_LINE]:
            continue
        name, _, value = line[: LONGEST_LINE + 1].decode("latin-1").partition(":")
        name, value = name.strip().lower(), value.strip()
        if name not in FORMS or len(line) > LONGEST_LINE or not re.fullmatch(FORMS[name], value):
            raise DataError(f"{path}: expected a field of a NRRD header, got {shown(line.decode('latin-1'))}")
        fields[name] = value
    lacking = [name for name in NEEDED if name not in fields]
    if lacking:
        raise DataError(f"{path}: expected {lacking[0]} in the NRRD header, got none; download it again")
    _check_length(path, fields, path.stat().st_size - end.end())


def _check_length(path: Path, fields: dict[str, str], there: int) -> None:
    voxels = math.prod(int(n) for n in fields["sizes"].split())
    if not 0 < voxels <= MOST_VOXELS:
        raise DataError(f"{path}: expected 1 to {MOST_VOXELS} voxels, got sizes {fields['sizes']}")
    expected = voxels * TYPES[fields["type"]]
    if fields["encoding"] == "raw" and there != expected:
        raise DataError(f"{path}: expected {expected} bytes of voxels, got {there}; download it again")
