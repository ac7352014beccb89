"""Users of the original read its volumes in Matlab by fread and reshape; so does GNU Octave read ours."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import Ish

from pipeline.formats.volumes.metaimage import read_metaimage, write_grid, write_labels
from pipeline.store.run import RunFolder

# As the original's documentation has it for its grids; the sums are printed to be compared.
SCRIPT = """
fid = fopen('{file}', 'r', 'l');
V = fread(fid, prod([67 41 58]), '{kind}');
rest = fread(fid, 1, 'uint8');
fclose(fid);
V = reshape(V, [67 41 58]);
plane = squeeze(V({p}, :, :));
printf('%.9g ', size(V), numel(rest), V({p}, {i}, {r}), sum(V(:)), max(V(:)), sum(plane(:)));
"""
PLACE = (34, 20, 25)  # counted from 1


def by_octave(path: Path, kind: str) -> list[float]:
    octave = shutil.which("octave-cli") or shutil.which("octave")
    if octave is None:
        pytest.skip("GNU Octave is not installed")
    script = SCRIPT.format(file=path, kind=kind, p=PLACE[0], i=PLACE[1], r=PLACE[2])
    command = [octave, "--no-gui", "--no-init-file", "--no-window-system", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


def wanted(volume: np.ndarray) -> list[float]:
    values = volume.astype(np.float64)
    p, i, r = (n - 1 for n in PLACE)
    return [67, 41, 58, 0, values[p, i, r], values.sum(), values.max(), values[p].sum()]


@pytest.mark.parametrize("name", ["energy", "density", "sum_pixels"])
def test_grids_of_a_run(name: str, finished: Path, tmp_path: Path, ish: Ish) -> None:
    assert ish("export", finished, "--format", "metaimage", "--output", tmp_path / "out") == 0
    volume = RunFolder(finished).read_grid()[name]
    stored = np.where(np.isnan(volume), -1, volume)
    assert (stored == -1).any()
    np.testing.assert_allclose(
        by_octave(tmp_path / "out" / f"{name}.raw", "float"), wanted(stored), rtol=1e-8, atol=1e-6
    )


def test_labels(tmp_path: Path) -> None:
    """Ids above 2**31 too: they are unsigned."""
    rng = np.random.default_rng(1)
    labels = rng.choice(np.array([0, 997, 312782546, 3_000_000_001], np.uint32), (67, 41, 58))
    write_labels(tmp_path / "gridAnnotation.mhd", labels, 200.0)
    np.testing.assert_allclose(
        by_octave(tmp_path / "gridAnnotation.raw", "uint32"), wanted(labels), rtol=1e-8
    )


def test_what_octave_writes_is_read_here(tmp_path: Path) -> None:
    octave = shutil.which("octave-cli") or shutil.which("octave")
    if octave is None:
        pytest.skip("GNU Octave is not installed")
    grid = np.random.default_rng(2).random((67, 41, 58)).astype(np.float32)
    write_grid(tmp_path / "a.mhd", grid, 200.0)
    script = (
        f"f = fopen('{tmp_path}/a.raw', 'r', 'l'); V = fread(f, Inf, 'float'); fclose(f);"
        "V = reshape(V, [67 41 58]);"
        f"V(1, 2, 3) = 7; f = fopen('{tmp_path}/a.raw', 'w', 'l'); fwrite(f, V, 'float'); fclose(f);"
    )
    subprocess.run([octave, "--no-gui", "--no-init-file", "--eval", script], check=True, timeout=120)
    grid[0, 1, 2] = 7
    np.testing.assert_array_equal(read_metaimage(tmp_path / "a.mhd")[0], grid)
