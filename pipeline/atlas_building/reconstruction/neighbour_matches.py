"""How well every section matches its neighbours, and which do not."""

from __future__ import annotations

import numpy as np

from pipeline.atlas_building.reconstruction.free_sections import TISSUE, FreeSections, Level, draw_level
from pipeline.core.model import Bool, Float64
from pipeline.sections.medians import MAD_TO_SIGMA
from pipeline.system.threads import each

OUTLIER = 4.0  # robust standard deviations of its match beyond which a section is not used
LEAST_MATCH_SPREAD = 0.04  # of the correlation with neighbours
MATCH_BLUR_UM = 150.0
THREADS = 2


def neighbour_matches(sections: FreeSections, poses: Float64) -> Float64:
    """Return the best correlation of every section with one of its neighbours.

    Parameters
    ----------
    sections : FreeSections
        The sections.
    poses : (n, 2, 3) float64, um -> um
        Where they lie.

    Returns
    -------
    (n,) float64
        Pearson's r over the tissue of both, of the neighbour that is most alike: at the ends of a brain, and
        beside a bad section, only one may be.
    """
    level = draw_level(sections, poses, MATCH_BLUR_UM)
    count = len(poses)

    def one(k: int) -> float:
        near = [j for j in (k - 2, k - 1, k + 1, k + 2) if 0 <= j < count]
        return max((_alike(level, k, j) for j in near), default=0.0)

    return np.array(each(one, range(count), THREADS))


def _alike(level: Level, k: int, j: int) -> float:
    image, other = level.image[k], level.image[j]
    where = level.known[k] & level.known[j] & (np.maximum(image, other) > TISSUE)
    a, b = image[where], other[where]
    if a.size < 10 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def without_outliers(matches: Float64) -> Bool:
    """Return which sections match their neighbours.

    Parameters
    ----------
    matches : (n,) float64
        As `neighbour_matches` returns them.

    Returns
    -------
    (n,) bool
        False far below the others.
    """
    middle = float(np.median(matches))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(matches - middle)))
    return np.asarray(matches >= middle - OUTLIER * max(spread, LEAST_MATCH_SPREAD))
