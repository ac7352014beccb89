"""`ish reference build` killed while it writes: nothing or a whole folder, and the next build ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk  # noqa: N813
from serial_sections import write_sections

MOMENTS = (0.0, 0.3, 0.6, 0.9)  # of what a build changes on disk, before which it is killed

# Forks a build for each line of its input: after how many changes it kills itself, -1 for never. It answers
# with the build's status, -9 where it was killed, and the number of changes.
FORKS = """
import os, signal, sys
from pipeline.cli import main, reference_building
import pipeline.atlas_building.building
changes, most = 0, -1
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def hook(event, given):
    global changes
    if not (event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir") or
            event == "open" and given[2] & CHANGING) or FOLDER not in str(given[0]):
        return
    if changes == most:
        os.kill(os.getpid(), signal.SIGKILL)
    changes += 1
FOLDER = sys.argv[1]
for line in sys.stdin:
    there, back = os.pipe()
    pid = os.fork()
    if pid == 0:
        most = int(line)
        sys.addaudithook(hook)
        sys.argv = ["ish", "reference", "build", FOLDER + "/series", "--output", FOLDER + "/out",
                    "--spacing-um", "200"]
        os.dup2(2, 1)
        try:
            main()
        except SystemExit as stop:
            os.write(back, str(changes).encode())
            os._exit(stop.code or 0)
        os.write(back, str(changes).encode())
        os._exit(0)
    os.close(back)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(there)
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
    with subprocess.Popen(
        [sys.executable, "-c", FORKS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as forks:

        def built(kill_at: int) -> tuple[int, int]:
            assert forks.stdin is not None
            assert forks.stdout is not None
            forks.stdin.write(f"{kill_at}\n")
            forks.stdin.flush()
            code, changes = forks.stdout.readline().split()
            return int(code), int(changes)

        code, changes = built(-1)
        assert code == 0
        assert changes > 10
        whole = contents(tmp_path / "out")
        kept = []
        for moment in MOMENTS:
            os.rename(tmp_path / "out", tmp_path / f"whole-{moment}")
            assert built(int(moment * changes))[0] == -9
            kept.append((tmp_path / ".ish-build-out" / "placement.json").exists())
            if (tmp_path / "out").exists():
                assert contents(tmp_path / "out") == whole
            assert built(-1)[0] == 0
            assert contents(tmp_path / "out") == whole
            left = {p.name for p in tmp_path.iterdir() if p.name.startswith(".")}
            assert not left, moment
        assert {True, False} == set(kept)  # killed before and after the placement was finished
        forks.stdin.close()  # type: ignore[union-attr]
