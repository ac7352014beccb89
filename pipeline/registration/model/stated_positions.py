"""Positions of sections along their normal that the manifest states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Float64
from pipeline.sections.thumbnail import SectionThumbnail

_LEAST_RANGE_UM = 400.0  # positions over a shorter range do not show how z is stretched


@dataclass(frozen=True, eq=False)
class StatedPositions:
    """Where along the normal some sections of a series lie.

    Attributes
    ----------
    z_um : (m,) float64, um
        Places of these sections in the volume.
    position_um : (m,) float64, um
        Stated positions in the reference: P of coronal sections, R of sagittal ones.
    spread_um : float, um
        Standard deviation of each.
    """

    z_um: Float64
    position_um: Float64
    spread_um: float = 50.0

    @classmethod
    def of(cls, thumbnails: Sequence[SectionThumbnail]) -> StatedPositions:
        """Return what the manifest states of some sections.

        Parameters
        ----------
        thumbnails : sequence of SectionThumbnail
            The sections.

        Returns
        -------
        StatedPositions
            The surest ones: positions of the manifest rather than anchors. Empty where nothing is stated.
        """
        stated = [t for t in thumbnails if t.position_um is not None]
        spread_um = min((t.position_spread_um for t in stated), default=0.0)
        stated = [t for t in stated if t.position_spread_um == spread_um]
        pairs = np.array([(t.z_um, t.position_um) for t in stated], np.float64).reshape(-1, 2)
        return cls(pairs[:, 0], pairs[:, 1], spread_um)

    def __len__(self) -> int:
        return len(self.z_um)

    @property
    def show_stretch(self) -> bool:
        """Whether they lie far enough apart to show direction and stretch of z."""
        return len(self) > 1 and float(np.ptp(self.z_um)) >= _LEAST_RANGE_UM

    def line(self, slope: float = 0.0) -> tuple[float, float]:
        """Return the line through the positions, position = offset + slope x z.

        Parameters
        ----------
        slope : float
            Its slope where the positions do not show one.

        Returns
        -------
        slope : float
            Stretch of z, negative where section numbers grow against the reference axis.
        offset : float, um
            Position of z = 0.
        """
        if self.show_stretch:
            slope = float(np.polyfit(self.z_um, self.position_um, 1)[0])
        return slope, float(np.mean(self.position_um - slope * self.z_um))

    def spreads(self, z_um: float) -> tuple[float, float]:
        """Return standard deviations of the line.

        Parameters
        ----------
        z_um : float, um
            Where its position is wanted.

        Returns
        -------
        position_um : float, um
            Of its position there; infinite where nothing is stated.
        slope : float
            Of its slope; infinite where the positions do not show one.
        """
        if not len(self):
            return np.inf, np.inf
        middle = float(self.z_um.mean())
        own = self.spread_um / len(self) ** 0.5
        if not self.show_stretch:
            return own, np.inf
        slope = self.spread_um / float(np.linalg.norm(self.z_um - middle))
        return float(np.hypot(own, slope * (z_um - middle))), slope


NOTHING_STATED = StatedPositions(np.zeros(0), np.zeros(0))
