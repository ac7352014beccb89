"""Differential search: mean energy in one set of structures over the mean energy in another.

Means are over voxels with data. Target and contrast may overlap: a contrast that contains the target counts
the target's voxels too, as in the differential search of the Allen Mouse Brain Atlas. A contrast without any
expression gives an infinite fold change. Such experiments come after all others, ordered by their mean in the
target, and are marked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.core.model import Bool, Float64, Int64, ratio


@dataclass(frozen=True)
class Threshold:
    """Bounds on a mean energy, both inclusive.

    Attributes
    ----------
    low : float
        Smallest mean energy.
    high : float
        Largest mean energy.
    """

    low: float = -np.inf
    high: float = np.inf

    @classmethod
    def parse(cls, text: str | None, option: str = "threshold") -> Threshold:
        """Read a threshold written as "min,max"; either may be left empty.

        Parameters
        ----------
        text : str, optional
            The threshold; None: no bounds.
        option : str
            Name of the option, for the message.

        Returns
        -------
        Threshold
            The bounds.

        Raises
        ------
        ConfigError
            Where the text is not "min,max" with min <= max.

        Examples
        --------
        >>> Threshold.parse("1,50"), Threshold.parse("1,")
        (Threshold(low=1.0, high=50.0), Threshold(low=1.0, high=inf))
        """
        if text is None:
            return cls()
        low, comma, high = (part.strip() for part in text.partition(","))
        try:
            found = cls(float(low or -np.inf), float(high or np.inf))
        except ValueError:
            comma = ""
        if not comma or not found.low <= found.high:
            raise ConfigError(f'{option} {text!r}: expected "min,max" with min <= max, e.g. "1,50"')
        return found

    def holds(self, means: Float64) -> Bool:
        """Return which means lie within the bounds.

        Parameters
        ----------
        means : (n,) float64
            Mean energies; NaN = no data.

        Returns
        -------
        (n,) bool
            True within the bounds; False for NaN.
        """
        return np.asarray((means >= self.low) & (means <= self.high))


@dataclass(frozen=True, eq=False)
class Contrast:
    """Mean energies of experiments in two sets of structures.

    Attributes
    ----------
    target_mean, contrast_mean : (n,) float64
        Mean energy over voxels with data; NaN where there is none.
    fold_change : (n,) float64
        Target mean over contrast mean; inf where the contrast mean is 0.
    """

    target_mean: Float64
    contrast_mean: Float64
    fold_change: Float64

    @classmethod
    def of(cls, target: tuple[Float64, Float64], contrast: tuple[Float64, Float64]) -> Contrast:
        """Compare the target with the contrast.

        Parameters
        ----------
        target : ((n,) float64, (n,) float64)
            Sum of energy and number of voxels with data in the target, of each experiment.
        contrast : ((n,) float64, (n,) float64)
            The same in the contrast.

        Returns
        -------
        Contrast
            Means and fold changes.
        """
        here, there = ratio(*target), ratio(*contrast)
        return cls(here, there, np.where(there == 0.0, np.inf, ratio(here, there)))

    def ranked(self, ids: Int64, target: Threshold, contrast: Threshold) -> Int64:
        """Return the experiments within both thresholds, best first.

        Finite fold changes come first, largest first, then the infinite ones. Ties go to the larger target
        mean, then to the smaller id. An experiment without data in either set is left out.

        Parameters
        ----------
        ids : (n,) int64
            Ids of the experiments.
        target : Threshold
            Bounds on the target mean.
        contrast : Threshold
            Bounds on the contrast mean.

        Returns
        -------
        (m,) int64
            Indices of the experiments that are kept.
        """
        kept = target.holds(self.target_mean) & contrast.holds(self.contrast_mean)
        finite = np.flatnonzero(kept & np.isfinite(self.fold_change))
        infinite = np.flatnonzero(kept & np.isinf(self.fold_change))
        finite = finite[np.argsort(-self.fold_change[finite])]
        self._break_ties(finite, ids)  # only ties need the other keys
        infinite = infinite[np.lexsort((ids[infinite], -self.target_mean[infinite]))]
        return np.concatenate([finite, infinite])

    def _break_ties(self, order: Int64, ids: Int64) -> None:
        """Break ties in place: reorder the experiments that share their fold change with a neighbour."""
        fold = self.fold_change[order]
        same = fold[1:] == fold[:-1]
        tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        among = order[tied]
        keys = (ids[among], -self.target_mean[among], -self.fold_change[among])
        order[tied] = among[np.lexsort(keys)]
