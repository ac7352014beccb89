"""ITK transforms as text (.tfm): affine maps that SimpleITK, ITK and ANTs read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.core.model import Float64
from pipeline.geometry.affine import to_itk
from pipeline.system.whole_files import replacing


def write_affine(path: Path, matrix: Float64, comments: Sequence[str]) -> None:
    """Write an affine map, float64 in full precision.

    Parameters
    ----------
    path : Path
        `.tfm` file.
    matrix : (d, d + 1) float64
        Acts on columns with a 1 appended; maps the points that are given to the transform.
    comments : sequence of str
        What maps to what and in which units, one line each.
    """
    size = len(matrix)
    lines = [
        "#Insight Transform File V1.0",
        *(f"# {comment}" for comment in comments),
        "#Transform 0",
        f"Transform: AffineTransform_double_{size}_{size}",
        f"Parameters: {' '.join(repr(value) for value in to_itk(matrix))}",
        f"FixedParameters: {' '.join(['0'] * size)}",
    ]
    with replacing(path) as fresh:
        fresh.write_text("\n".join(lines) + "\n", encoding="ascii")
