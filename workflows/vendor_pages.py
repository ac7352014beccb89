"""Fetch the libraries of the pages from the npm registry and store them as the pages load them.

Browsers resolve no package names, so imports by name become imports by file. Of OpenSeadragon, parts that
no page uses are left out before it is minified. Every file is listed in `vendored.json` with its package,
version, licence and digest, and with what was left out.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from itertools import pairwise
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "pipeline" / "service" / "pages" / "static" / "vendor"
# package, version, licence: file of the package -> file here
LIBRARIES = {
    ("openseadragon", "6.1.1", "BSD-3-Clause"): {
        "build/openseadragon/openseadragon.js": "openseadragon.min.js",
        "LICENSE.txt": "openseadragon.LICENSE.txt",
    },
    ("preact", "11.2.0", "MIT"): {
        "dist/preact.mjs": "preact.js",
        "hooks/dist/hooks.mjs": "preact-hooks.js",
        "LICENSE": "preact.LICENSE.txt",
    },
    ("@preact/signals-core", "1.14.5", "MIT"): {
        "dist/signals-core.mjs": "signals-core.js",
        "LICENSE": "signals-core.LICENSE.txt",
    },
    ("@preact/signals", "2.11.4", "MIT"): {
        "dist/signals.mjs": "signals.js",
        "LICENSE": "signals.LICENSE.txt",
    },
    ("htm", "3.1.1", "Apache-2.0"): {"dist/htm.mjs": "htm.js", "LICENSE": "htm.LICENSE.txt"},
}
# Of libraries whose parts begin with a heading each: drawers, servers and controls that no page uses.
LEFT_OUT = {
    "openseadragon.min.js": (
        "Mat3", "WebGLDrawer", "HTMLDrawer", "Navigator", "ReferenceStrip", "Button", "ButtonGroup",
        "IIIFTileSource", "IIPTileSource", "IrisTileSource", "OsmTileSource", "TmsTileSource",
        "LegacyTileSource", "TileSourceCollection",
    ),
}  # fmt: skip
HEADING = re.compile(r"^/\*+\s*\n \* OpenSeadragon(?: - (\w+)|\.converter)", re.MULTILINE)
MINIFIER = ("npm", "exec", "--yes", "--package", "terser@5.51.4", "--", "terser")
MINIFIED = ("--compress", "passes=2", "--mangle", "--comments", "/^!/")
MODULES = {
    "preact": "preact.js",
    "preact/hooks": "preact-hooks.js",
    "@preact/signals-core": "signals-core.js",
}
IMPORT = re.compile(rf"""(\bfrom|\bimport)(\s*)(["'])({"|".join(map(re.escape, MODULES))})\3""")


def main() -> int:
    """Write all files and their list; return 0."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    listed = []
    for (package, version, licence), files in LIBRARIES.items():
        members = packed(package, version)
        for source, name in files.items():
            content = members[f"package/{source}"]
            about: dict[str, object] = {"package": package, "version": version, "licence": licence}
            if name in LEFT_OUT:
                content = minified(without(content.decode(), LEFT_OUT[name]))
                about["left_out"] = LEFT_OUT[name]
            content = stored(content, name)
            (FOLDER / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            listed.append({"file": name, **about, "source": source, "sha256": digest})
    (FOLDER / "vendored.json").write_text(json.dumps(listed, indent=1) + "\n")
    return 0


def packed(package: str, version: str) -> dict[str, bytes]:
    """Return the files of a package as the registry has them."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"{package}@{version}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:
            files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            return {name: file.read() for name, file in files.items() if file is not None}


def without(text: str, names: tuple[str, ...]) -> str:
    """Return a library without the parts of these names.

    Raises
    ------
    ValueError
        Where it has no such part.
    """
    found = list(HEADING.finditer(text))
    spans = {one[1]: (one.start(), after.start()) for one, after in pairwise(found)}
    absent = set(names) - set(spans)
    if absent:
        raise ValueError(f"expected parts {', '.join(sorted(absent))}; got {', '.join(map(str, spans))}")
    for first, end in sorted((spans[name] for name in names), reverse=True):
        text = text[:first] + text[end:]
    return text


def minified(text: str) -> bytes:
    """Return a script as short as it can be written."""
    return subprocess.run([*MINIFIER, *MINIFIED], input=text.encode(), check=True, capture_output=True).stdout


def stored(content: bytes, name: str) -> bytes:
    """Return a file as it is stored: imports by file, no pointer to a source map that is not stored."""
    if not name.endswith(".js"):
        return content
    text = content.decode()
    text = re.sub(r"\n?//# sourceMappingURL=\S+\s*$", "\n", text)
    return IMPORT.sub(lambda m: f"{m[1]}{m[2]}{m[3]}./{MODULES[m[4]]}{m[3]}", text).encode()


if __name__ == "__main__":
    sys.exit(main())
