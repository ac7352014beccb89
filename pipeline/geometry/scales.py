"""Plausible scales from the volume of a series to the reference space; 1 means no change of size."""

from __future__ import annotations

import numpy as np

from pipeline.core.model import Float64

# Outside the first range a note is written: Allen's own alignments of adult brains reach 1.22. Outside the
# second an alignment is refused: a scale stated wrong by a factor of 2 lies there, a brain does not.
USUAL_SCALES = (0.75, 1.30)
POSSIBLE_SCALES = (0.6, 1.6)


def scales_of(volume_to_reference: Float64) -> Float64:
    """Return the scales along x, y, z of the volume: the lengths of the columns.

    Parameters
    ----------
    volume_to_reference : (3, 4) float64, um to um
        Map of the volume to the reference space.

    Returns
    -------
    (3,) float64
        Reference um per volume um.
    """
    return np.asarray(np.linalg.norm(volume_to_reference[:, :3], axis=0))


def outside(scales: Float64, limits: tuple[float, float]) -> bool:
    """Return whether any scale lies outside a range.

    Parameters
    ----------
    scales : (n,) float64
        Scales of `scales_of`, or some of them.
    limits : (float, float)
        Least and largest scale, `USUAL_SCALES` or `POSSIBLE_SCALES`.

    Returns
    -------
    bool
        True where a scale is below the least or above the largest.
    """
    return bool((scales < limits[0]).any() or (scales > limits[1]).any())


def scales_text(scales: Float64) -> str:
    """Return scales for a message, such as "1.02 x 0.98 x 1.00".

    Parameters
    ----------
    scales : (3,) float64
        Scales of `scales_of`.

    Returns
    -------
    str
        The scales with two decimals.
    """
    return " x ".join(f"{scale:.2f}" for scale in scales)


def unusual_scales(scales: Float64) -> str:
    """Return a note on scales outside `USUAL_SCALES`.

    Parameters
    ----------
    scales : (3,) float64
        Scales of `scales_of`.

    Returns
    -------
    str
        The note; empty where all scales are usual.
    """
    if not outside(scales, USUAL_SCALES):
        return ""
    low, high = USUAL_SCALES
    return f"Alignment3d scales {scales_text(scales)} are outside the usual range {low:.2f}-{high:.2f}"


def spacing_text(scales: Float64) -> str:
    """Return by which factor the section thickness seems wrong, for a message.

    Parameters
    ----------
    scales : (3,) float64
        Scales of `scales_of`.

    Returns
    -------
    str
        Such as "section_thickness_um or the section numbers seem off by x 8.5"; empty where the scale along z
        is possible, or one in the plane is not.
    """
    if outside(scales[:2], POSSIBLE_SCALES) or not outside(scales[2:], POSSIBLE_SCALES):
        return ""
    factor = float(scales[2] / np.sqrt(scales[0] * scales[1]))
    return f"section_thickness_um or the section numbers seem off by x {factor:.2g}"
