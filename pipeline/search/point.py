"""Genes at a point: where expression is like that at a voxel, and which genes are enriched there."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.core.errors import ConfigError
from pipeline.core.model import Bool, Float32, Float64, Int64
from pipeline.search.build import parallel
from pipeline.search.kernels.order import VoxelOrder
from pipeline.search.kernels.point import (
    Profile,
    Scan,
    TooFewError,
    batches,
    correlate,
    correlate_fully,
    domain_sums,
    profiles,
    tiles,
)
from pipeline.search.kernels.sums import Block, SetSums
from pipeline.search.result import SearchResult

WIDER, LOCAL = 0.84, 0.93  # least r of the two domains; from the original's example of its gene finder
TARGET, CONTRAST = "1,50", "0,50"  # bounds on mean energies, as the original's page sends them
_REACH = math.sqrt(3) / 2  # spacings from a voxel's centre to its corner


@dataclass(frozen=True, eq=False, kw_only=True)
class PointResult(SearchResult):
    """What a search at a point found: a map of r, two domains, and the experiments, best first.

    Attributes
    ----------
    seed_um : (P, I, R), um
        Position of the seed voxel.
    map : (P, I, R) float32
        Pearson's r between the profile of every voxel and that of the seed; NaN outside the voxel set and
        where r is not defined.
    within : float
        Largest error of the map by the coding of energies. The domains are exact.
    experiments : int
        Number of experiments with data at the seed.
    local_voxels, wider_voxels : int
        Sizes of the domains.
    spacing_um : float, um
        Spacing of the map.
    """

    seed_um: tuple[float, float, float]
    map: Float32
    within: float
    experiments: int
    local_voxels: int
    wider_voxels: int
    spacing_um: float

    def summary(self) -> str:
        """Return seed, experiments and domains in one line."""
        at = ",".join(f"{um:g}" for um in self.seed_um)
        return (
            f"seed voxel {at} um, {self.experiments} coronal experiments; local domain {self.local_voxels}"
            f" voxels, wider domain {self.wider_voxels} voxels"
        )

    def drawn(self) -> Float32:
        """Return the map for a file, where -1 means no data: an r of exactly -1 becomes the next float.

        Returns
        -------
        (P, I, R) float32
            r above -1; NaN = no data.
        """
        return np.maximum(self.map, np.nextafter(np.float32(-1), np.float32(0)))


@dataclass(frozen=True)
class Domains:
    """How the two domains of a seed are chosen.

    Attributes
    ----------
    wider, local : float
        Least r of a voxel of either.
    connected : bool
        Whether only voxels that touch the seed's own, by face, edge or corner and through others, belong.
    """

    wider: float = WIDER
    local: float = LOCAL
    connected: bool = False

    def __post_init__(self) -> None:
        if not -1 < self.wider <= self.local < 1:
            raise ConfigError(
                f"correlation thresholds wider {self.wider:g}, local {self.local:g}: expected"
                " -1 < wider <= local < 1"
            )

    def of(self, r: Float64, seed: int, order: VoxelOrder) -> tuple[Bool, Bool]:
        """Return the voxels of the wider and the local domain.

        Parameters
        ----------
        r : (padded,) float64
            Correlation with the seed in storage order; NaN where it is not defined.
        seed : int
            The seed in storage order.
        order : VoxelOrder
            Storage order of the voxels.

        Returns
        -------
        wider, local : (padded,) bool
            The domains.
        """
        wider, local = r >= self.wider, r >= self.local
        if self.connected:
            wider, local = (_touching(inside, seed, order) for inside in (wider, local))
        return wider, local


@dataclass(frozen=True, eq=False)
class Around:
    """What lies around a seed voxel.

    Attributes
    ----------
    seed : int
        The seed in storage order.
    profile : Profile
        Its energies.
    r : (padded,) float64
        Correlation with the seed; NaN where it is not defined.
    within : float
        Largest error of `r`.
    wider, local : (padded,) bool
        The domains.
    sums : ((2, experiments) float64, (2, experiments) float64)
        Number of voxels with data and sum of energy, over the wider and the local domain.
    """

    seed: int
    profile: Profile
    r: Float64
    within: float
    wider: Bool
    local: Bool
    sums: tuple[Float64, Float64]


@dataclass(frozen=True, eq=False)
class Voxels:
    """The voxels of a set across the experiments of an index.

    Attributes
    ----------
    order : VoxelOrder
        Storage order.
    sums : SetSums
        The set and its experiments.
    blocks : tuple of Block
        Rows of the index.
    exponents : (experiments,) int64
        Exponents of the codes.
    complete : (experiments,) bool
        Experiments with data in every voxel of the set.
    spacing_um : float, um
        Spacing of the grid.
    """

    order: VoxelOrder
    sums: SetSums
    blocks: tuple[Block, ...]
    exponents: Int64
    complete: Bool
    spacing_um: float

    def nearest(self, point_um: Sequence[float]) -> int:
        """Return the voxel of the set that is nearest to a point.

        Parameters
        ----------
        point_um : (P, I, R), um
            A point of the reference space.

        Returns
        -------
        int
            Its position in storage order.

        Raises
        ------
        ConfigError
            Where the point is not three numbers inside the box of the grid.
        TooFewError
            Where the point is farther from every voxel of the set than the corners of a voxel are.
        """
        shown = ",".join(f"{um:g}" for um in point_um)
        extent = [(n - 1) * self.spacing_um for n in self.order.shape]
        if len(point_um) != 3 or not all(0 <= um <= most for um, most in zip(point_um, extent, strict=True)):
            box = ", ".join(f"0 to {most:g}" for most in extent)
            raise ConfigError(f"point {shown}: expected P,I,R in um within {box}")
        low = [int(um // self.spacing_um) for um in point_um]
        # A voxel in reach is one of the eight around the point.
        around = [range(at, min(at + 2, n)) for at, n in zip(low, self.order.shape, strict=True)]
        corners = np.ravel_multi_index(np.meshgrid(*around), self.order.shape)
        beside = np.flatnonzero(np.isin(self.order.brain, corners))
        seed, distance = self._nearest_of(beside[self.sums.member[beside]], point_um)
        if distance > _REACH * self.spacing_um:
            seed, _ = self._nearest_of(np.flatnonzero(self.sums.member), point_um)
            near = ",".join(f"{um:g}" for um in self.position_um(np.array([seed]))[0])
            raise TooFewError(
                f"point {shown}: too few coronal experiments have data there; the nearest voxel with enough"
                f" is at {near} um"
            )
        return seed

    def _nearest_of(self, voxels: Int64, point_um: Sequence[float]) -> tuple[int, float]:
        """Return the voxel nearest to a point, and its distance; infinite where there is none."""
        if not len(voxels):
            return -1, math.inf
        apart = self.position_um(voxels) - np.asarray(point_um, np.float64)
        distance = np.sqrt(np.square(apart).sum(axis=1))
        at = int(np.argmin(distance))
        return int(voxels[at]), float(distance[at])

    def position_um(self, voxels: Int64) -> Float64:
        """Return the positions of voxels.

        Parameters
        ----------
        voxels : (n,) int64
            Voxels in storage order.

        Returns
        -------
        (n, 3) float64, um
            Positions (P, I, R).
        """
        index = np.unravel_index(self.order.brain[voxels], self.order.shape)
        return np.asarray(np.stack(index, axis=1) * self.spacing_um, np.float64)

    def around(self, seed: int, domains: Domains) -> Around:
        """Correlate a voxel with every other by their profiles, and sum the experiments over its domains.

        Parameters
        ----------
        seed : int
            The voxel in storage order.
        domains : Domains
            How the domains are chosen.

        Returns
        -------
        Around
            Correlations, domains and sums.

        Raises
        ------
        DataError
            Where too few experiments have data at the voxel, or do not differ there.
        """
        slots = self.sums.slots
        energies = profiles(self.blocks, slots, self.exponents, np.array([seed]))[0]
        profile = Profile.of(slots, self.exponents, energies)
        r, bound = self.correlation(profile, (domains.wider, domains.local))
        wider, local = domains.of(r, seed, self.order)
        sums = self._over(wider, local)
        return Around(seed, profile, r, float(bound[~np.isnan(r)].max()), wider, local, sums)

    def correlation(self, seed: Profile, decided: Sequence[float]) -> tuple[Float64, Float64]:
        """Correlate a profile with that of every voxel of the set.

        Parameters
        ----------
        seed : Profile
            The seed.
        decided : sequence of float
            Values of r. A voxel of which the codes do not say on which side of these it lies is computed from
            full values, and so is one that may be a copy of the seed.

        Returns
        -------
        r : (padded,) float64
            Pearson's r; NaN outside the set, and where fewer than two experiments have data in both or either
            is constant.
        bound : (padded,) float64
            Largest error of r by the coding of energies; 0 where r is computed from full values.
        """
        complete = self.complete[np.searchsorted(self.sums.slots, seed.slots)]
        scan = Scan.of(self.blocks, seed, complete)
        drawn = parallel(lambda tile: correlate(scan, tile), tiles(self.order.padded, os.cpu_count() or 1))
        r = np.where(self.sums.member, np.concatenate([part.r for part in drawn]), np.nan)
        bound = np.concatenate([part.bound for part in drawn])
        near = np.isinf(bound) & ~np.isnan(r)
        for value in (*decided, 1.0):
            near |= np.abs(r - value) <= bound
        undecided = np.flatnonzero(near)

        def decide(part: slice) -> None:
            r[undecided[part]] = correlate_fully(self.blocks, seed, undecided[part])

        parallel(decide, list(batches(undecided)))
        bound[undecided] = 0.0
        return np.clip(r, -1.0, 1.0), bound

    def _over(self, wider: Bool, local: Bool) -> tuple[Float64, Float64]:
        """Return number of voxels with data and sum of energy over both domains, (2, experiments) each."""
        out, voxels = np.zeros((2, 2, len(self.sums.slots))), np.flatnonzero(wider)
        inner = local[voxels]

        def one(block: Block) -> None:
            rows, at = block.rows(self.sums.slots)
            out[:, :, at] = domain_sums(block, rows, self.exponents[at], voxels, inner)

        parallel(one, self.blocks)
        return out[0], out[1]

    def result(
        self, found: Around, columns: Mapping[str, npt.NDArray[Any]], notes: tuple[str, ...] = ()
    ) -> PointResult:
        """Return what was found around a seed, with its table of experiments.

        Parameters
        ----------
        found : Around
            What lies around the seed.
        columns : mapping of str to (n,) array
            Columns of the table.
        notes : tuple of str
            Limitations of the table.

        Returns
        -------
        PointResult
            The result.
        """
        p, i, r = self.position_um(np.array([found.seed]))[0].tolist()
        return PointResult(
            columns=columns,
            notes=notes,
            seed_um=(p, i, r),
            map=self.grid(found.r),
            within=found.within,
            experiments=len(found.profile.slots),
            local_voxels=int(found.local.sum()),
            wider_voxels=int(found.wider.sum()),
            spacing_um=self.spacing_um,
        )

    def grid(self, values: Float64) -> Float32:
        """Return values in storage order as a grid.

        Parameters
        ----------
        values : (padded,) float64
            Values of the brain voxels.

        Returns
        -------
        (P, I, R) float32
            The grid; NaN outside the brain.
        """
        grid = np.full(math.prod(self.order.shape), np.nan, np.float32)
        grid[self.order.brain] = values[: len(self.order.brain)]
        return grid.reshape(self.order.shape)


def parse_point(text: str, option: str) -> tuple[float, ...]:
    """Read a point written as "P,I,R".

    Parameters
    ----------
    text : str
        Three numbers.
    option : str
        Name of the option, for the message.

    Returns
    -------
    tuple of float
        The point, um.

    Raises
    ------
    ConfigError
        Where the text is not three finite numbers.

    Examples
    --------
    >>> parse_point("6800, 4200,5600", "--at")
    (6800.0, 4200.0, 5600.0)
    """
    try:
        point = tuple(float(part) for part in text.split(","))
    except ValueError:
        point = ()
    if len(point) != 3 or not all(map(math.isfinite, point)):
        raise ConfigError(f"{option} {text!r}: expected P,I,R in um, e.g. 6800,4200,5600")
    return point


def _touching(inside: Bool, seed: int, order: VoxelOrder) -> Bool:
    """Return the voxels of a domain that hang together with the seed."""
    grid = np.zeros(math.prod(order.shape), np.bool_)
    grid[order.brain] = inside[: len(order.brain)]
    parts = ndimage.label(grid.reshape(order.shape), np.ones((3, 3, 3)))[0].reshape(-1)
    found = np.zeros_like(inside)
    found[: len(order.brain)] = inside[: len(order.brain)] & (parts[order.brain] == parts[order.brain[seed]])
    return found
