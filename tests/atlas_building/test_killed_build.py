"""`ish reference build` killed while it writes: nothing or a whole folder, and the next build ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk  # noqa: N813
from serial_sections import write_sections

MOMENTS = (0.0, 0.2, 0.4, 0.9)  # of what a build changes on disk, before which it is killed

# Builds once, then, for each moment, a build that kills itself there and one that does not, each in a process
# of its own. What a build leaves is put aside, and what was seen is told as JSON.
BUILDS = """
import json, os, shutil, signal, sys
from pathlib import Path
from pipeline.cli import main, reference_building
import pipeline.atlas_building.building
folder, *moments = Path(sys.argv[1]), *map(float, sys.argv[2:])
out, place, changes, most = folder / "out", folder / ".ish-build-out", 0, -1
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def hook(event, given):
    global changes
    changing = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
    if (changing or event == "open" and given[2] & CHANGING) and str(folder) in str(given[0]):
        if changes == most:
            os.kill(os.getpid(), signal.SIGKILL)
        changes += 1
def built(kill_at):
    global most
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    most, code = kill_at, 0
    os.dup2(2, 1)
    sys.argv = ["ish", "reference", "build", f"{folder}/series", "--output", str(out), "--spacing-um", "200"]
    sys.addaudithook(hook)
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    (folder / "changes").write_text(str(changes))
    os._exit(code)
first = built(-1)
total = int((folder / "changes").read_text())
seen = [{"first": first, "total": total}]
out.rename(folder / "whole")
for moment in moments:
    one = {"killed": built(int(moment * total)), "kept": (place / "placement.json").exists()}
    if out.exists():
        shutil.copytree(out, folder / f"killed-{moment}")
    one["again"] = built(-1)
    one["left"] = [p.name for p in folder.iterdir() if p.name.startswith(".")]
    out.rename(folder / f"again-{moment}")
    seen.append(one)
print(json.dumps(seen))
"""


def contents(folder: Path) -> dict[str, bytes]:
    """Return what a result holds: its volumes' values, and where its sections lie."""
    described = json.loads((folder / "reference.json").read_text())
    assert described["verb"] == "build"
    found = {p.name: sitk.GetArrayFromImage(sitk.ReadImage(str(p))).tobytes() for p in folder.glob("*.nrrd")}
    assert len(found) == 2
    assert "</html>" in (folder / "report.html").read_text()
    return found | {"alignment": (folder / "41" / "alignment.json").read_bytes()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that are killed are forked")
def test_a_build_killed_while_it_writes_leaves_nothing_or_all(tmp_path: Path) -> None:
    write_sections(tmp_path / "series", list(range(26, 40, 2)))
    words = [sys.executable, "-c", BUILDS, str(tmp_path), *map(str, MOMENTS)]
    told = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout
    first, *others = json.loads(told)
    assert first["first"] == 0
    assert first["total"] > 10
    whole = contents(tmp_path / "whole")
    for moment, one in zip(MOMENTS, others, strict=True):
        assert one["killed"] == -signal.SIGKILL
        if (tmp_path / f"killed-{moment}").exists():
            assert contents(tmp_path / f"killed-{moment}") == whole
        assert one["again"] == 0
        assert not one["left"], moment
        assert contents(tmp_path / f"again-{moment}") == whole
    assert {one["kept"] for one in others} == {True, False}  # killed before and after sections were placed
