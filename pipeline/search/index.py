"""Python interface of the search: build an index, open it, query it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import Bool, Float32, Float64, Int64
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import labels_note
from pipeline.search.build import (
    VOXEL_SETS,
    voxel_order,
)
from pipeline.search.correlating import estimate_all, full_values
from pipeline.search.kernels.correlation import Probe, candidates
from pipeline.search.kernels.differential import Threshold
from pipeline.search.kernels.networks import profile_correlation
from pipeline.search.kernels.order import topmost
from pipeline.search.kernels.sums import SetSums
from pipeline.search.notes import ROUGH
from pipeline.search.on_disk.experiments import Experiment
from pipeline.search.on_disk.snapshot import IndexSnapshot, open_snapshot
from pipeline.search.point import CONTRAST, LOCAL, TARGET, WIDER, Domains, PointResult, Voxels
from pipeline.search.ranking import by_fold_change, count
from pipeline.search.result import SearchResult, StructureNetwork
from pipeline.search.seeds import CheckedRows
from pipeline.search.voxel_sets import VoxelSets

__all__ = [
    "VOXEL_SETS",
    "Experiment",
    "SearchIndex",
    "open_index",
]


Structures = str | int | Sequence[str | int]


def open_index(path: Path | str) -> SearchIndex:
    """Open a search index; it shows the experiments that are committed at this moment.

    Parameters
    ----------
    path : Path or str
        Folder of the index.

    Returns
    -------
    SearchIndex
        The open index.

    Raises
    ------
    MissingResultError
        Where there is no index, or a part of it is missing.
    DataError
        Where the index is damaged or of another version.
    """
    return SearchIndex(open_snapshot(Path(path)))


class SearchIndex:
    """An open index: thousands of experiments, memory-mapped; any number of threads may query it.

    Structures are acronyms or ids and include all their descendants; "DG,CA1" stands for both. `voxels` names
    one of `VOXEL_SETS`: "all", "coronal" (coronal experiments only) or "grid".

    Parameters
    ----------
    snapshot : IndexSnapshot
        The index as it was when opened.
    """

    def __init__(self, snapshot: IndexSnapshot) -> None:
        self._snapshot = snapshot
        self._order = voxel_order(snapshot.subject)
        self._sets = VoxelSets(snapshot, self._order)
        self._rows = CheckedRows(snapshot, self._order)

    def __len__(self) -> int:
        return len(self._snapshot.table)

    @property
    def ontology(self) -> Ontology:
        """The structures that may be queried."""
        return self._snapshot.subject.ontology

    @property
    def experiments(self) -> dict[str, npt.NDArray[Any]]:
        """Columns section_data_set_id, gene, plane_of_section and source of all experiments."""
        names = ("section_data_set_id", "gene", "plane_of_section", "source")
        return {name: self._snapshot.table.columns[name] for name in names}

    def voxel_mask(self, voxels: str = "all") -> Bool:
        """Return the voxels of the grid that belong to a voxel set.

        Parameters
        ----------
        voxels : str
            One of `VOXEL_SETS`.

        Returns
        -------
        (P, I, R) bool
            True in the set.

        Raises
        ------
        ConfigError
            Where there is no such set.
        MissingResultError
            Where the set has no experiment.
        """
        mask = np.full(int(np.prod(self._order.shape)), voxels == "grid")
        mask[self._order.brain] = self._sets.sums(voxels).member[: len(self._order.brain)]
        return mask.reshape(self._order.shape)

    def differential(
        self,
        target: Structures,
        contrast: Structures,
        *,
        voxels: str = "all",
        target_threshold: str | None = None,
        contrast_threshold: str | None = None,
        top: int | None = None,
    ) -> SearchResult:
        """Find the experiments with higher expression in `target` than in `contrast`.

        Parameters
        ----------
        target : str, int or sequence of these
            Structures; voxels that lie in both target and contrast count in both.
        contrast : str, int or sequence of these
            Structures to compare with.
        voxels : str
            One of `VOXEL_SETS`.
        target_threshold : str, optional
            Bounds on the mean energy in the target, "min,max", e.g. "1,50".
        contrast_threshold : str, optional
            The same for the contrast.
        top : int, optional
            Number of experiments to return; default all.

        Returns
        -------
        SearchResult
            Columns section_data_set_id, gene, plane_of_section, fold_change, target_mean, contrast_mean,
            target_voxels, contrast_voxels, contrast_zero, rank_first and rank_last; largest fold change
            first. Where the contrast mean is 0, the fold change is inf and contrast_zero is True: these come
            last, by target mean. rank_first and rank_last are the ranks between which a row may stand within
            error; None where its experiment states no error, or the fold change is inf.

        Raises
        ------
        ConfigError
            Where an option is not valid or no structure is named.
        DataError
            Where target or contrast has no voxel in the set.
        MissingResultError
            Where the set has no experiment.
        """
        bounds = (
            Threshold.parse(target_threshold, "target threshold"),
            Threshold.parse(contrast_threshold, "contrast threshold"),
        )
        wanted = [topmost(self.ontology, self._names(names)) for names in (target, contrast)]
        sums = self._sets.sums(voxels)
        places = [
            self._places(name, ids, sums, voxels)
            for name, ids in zip(("target", "contrast"), wanted, strict=True)
        ]
        here, there = (self._sets.checked(voxels, place).over(place)[:2] for place in places)
        _, columns, notes = self._ranked(voxels, (here, there), bounds, top)
        return SearchResult(columns, (*labels_note(self._snapshot.subject.label_form), *notes))

    def at_point(
        self,
        point_um: Sequence[float],
        *,
        wider: float = WIDER,
        local: float = LOCAL,
        connected: bool = False,
        target_threshold: str | None = TARGET,
        contrast_threshold: str | None = CONTRAST,
        top: int | None = None,
    ) -> PointResult:
        """Find the coronal experiments enriched around a point, and where expression is like that there.

        The profile of a voxel is its energy in every coronal experiment. Pearson's r between the profiles of
        the seed and of each voxel, over the experiments with data at both, gives a map and two domains.
        Experiments are ranked by their mean energy in the local domain (the target) over that in the wider
        domain (the contrast), which contains the target.

        Parameters
        ----------
        point_um : (P, I, R), um
            A point; the nearest voxel of the set "coronal" is the seed.
        wider, local : float
            Least r of a voxel of the wider and of the local domain.
        connected : bool
            Leave out of both domains what does not hang together with the seed.
        target_threshold : str, optional
            Bounds on the mean energy in the local domain, "min,max"; None for no bounds.
        contrast_threshold : str, optional
            The same for the wider domain.
        top : int, optional
            Number of experiments to return; default all.

        Returns
        -------
        PointResult
            Columns as of `differential`, the map, and the sizes of the domains.

        Raises
        ------
        ConfigError
            Where an option is not valid or the point lies outside the grid.
        DataError
            Where too few experiments have data at the point, or do not differ there.
        MissingResultError
            Where there is no coronal experiment.

        Notes
        -----
        Correlation maps and gene finder of the Anatomic Gene Expression Atlas: Ng et al., Nat. Neurosci.
        12:356 (2009), doi 10.1038/nn.2281. The domains are those of full values. Elsewhere the map rests on
        codes of 16 bits; `PointResult.within` says how far it may be off.
        """
        domains = Domains(wider, local, connected)
        bounds = (
            Threshold.parse(target_threshold, "target threshold"),
            Threshold.parse(contrast_threshold, "contrast threshold"),
        )
        across = self._across("coronal")
        seed = across.nearest(point_um)
        found = across.around(seed, domains)
        there, here = found.sums
        places, columns, notes = self._ranked("coronal", (here, there), bounds, top)
        for place in places.tolist():
            self._rows.at(place)
        return across.result(found, columns, notes)

    def structures(self, voxels: str = "all") -> SearchResult:
        """Return the structures that can be searched.

        Parameters
        ----------
        voxels : str
            One of `VOXEL_SETS`.

        Returns
        -------
        SearchResult
            Columns structure_id, acronym, name and voxels (those in the set, descendants included), for every
            structure with such a voxel, along the tree.

        Raises
        ------
        ConfigError
            Where there is no such set.
        MissingResultError
            Where the set has no experiment.
        """
        before = np.concatenate([[0], np.cumsum(self._sets.sums(voxels).member)])
        begins, ends = self._order.bounds[:, :-1], self._order.bounds[:, self._order.ends]
        counts = (before[ends] - before[begins]).sum(axis=0)
        shown = np.flatnonzero(counts)
        ids = self._order.structure_ids[shown]
        known = [self.ontology.by_id[structure] for structure in ids.tolist()]
        names = {name: np.array([getattr(s, name) for s in known], object) for name in ("acronym", "name")}
        return SearchResult({"structure_id": ids, **names, "voxels": counts[shown]})

    def structure_correlation(self, structures: Structures = (), voxels: str = "all") -> StructureNetwork:
        """Return how alike structures express over all experiments.

        The profile of a structure is its mean energy in each experiment, over the voxels with data. Two
        structures are compared by Pearson's r over the experiments in which both have data.

        Parameters
        ----------
        structures : str, int or sequence of these
            Structures; default all that have a voxel in the set.
        voxels : str
            One of `VOXEL_SETS`.

        Returns
        -------
        StructureNetwork
            Columns as of `structures`, in the order of the ontology, and the matrix of r.

        Raises
        ------
        ConfigError
            Where there is no such set or structure.
        DataError
            Where a structure has no voxel in the set.
        MissingResultError
            Where the set has no experiment.
        """
        found, sums = self.structures(voxels), self._sets.sums(voxels)
        if structures:
            wanted = [self.ontology.find(name).id for name in self._names(structures)]
            for one in wanted:
                self._places("structures", [one], sums, voxels)
            found = found.where(np.isin(found.columns["structure_id"], wanted))
        places = self._order.positions(found.columns["structure_id"].tolist())
        r, shared = profile_correlation(self._sets.checked(voxels, places).means(places))
        return StructureNetwork(
            found.columns, labels_note(self._snapshot.subject.label_form), r=r, shared=shared
        )

    def correlation(
        self,
        seed: int | str | Path | Float32,
        *,
        domain: Structures = (),
        voxels: str = "all",
        top: int | None = 100,
    ) -> SearchResult:
        """Find the experiments whose energy correlates best with that of a seed.

        The measure is Pearson's r over the voxels with data in both.

        Parameters
        ----------
        seed : int, str, Path or (P, I, R) float32
            An id of the index; a .mhd, zip, run or folder with energy.mhd; or a grid, NaN = no data.
        domain : str, int or sequence of these
            Structures; default the whole voxel set.
        voxels : str
            One of `VOXEL_SETS`.
        top : int, optional
            Number of experiments to return; None for all.

        Returns
        -------
        SearchResult
            Columns section_data_set_id, gene, plane_of_section, r and voxels (the number that r is computed
            from); largest r first. An experiment is left out where it shares fewer than two voxels with the
            seed, or where either is constant over them.

        Raises
        ------
        ConfigError
            Where an option is not valid.
        DataError
            Where the seed cannot be read or is constant, or the domain has no voxel in the set.
        MissingResultError
            Where the set has no experiment.
        """
        sums = self._sets.sums(voxels)
        member, known = self._domain(self._names(domain), sums, voxels)
        everywhere = voxels == "grid" and not domain
        brain, outside, notes = self._rows.seed(seed, everywhere)
        notes += labels_note(self._snapshot.subject.label_form) if domain else ()
        probe = Probe.of(brain, member, outside)
        if probe.voxels < int(member.sum()):
            known = None  # stored sums include voxels that the seed lacks
        scales, blocks = self._sets.scales(voxels), self._snapshot.blocks
        drawn = estimate_all(blocks, sums, scales, probe, known)
        wanted = count(top, len(sums.slots))
        picks = candidates(drawn, wanted)
        r, shared, rough = full_values(blocks, sums, scales, self._rows, probe, picks)
        at = self._sets.places(voxels)[picks]
        ids = self._snapshot.table.columns["section_data_set_id"][at]
        order = np.lexsort((ids, -r))[: min(wanted, int((~np.isnan(r)).sum()))]
        columns = {"r": r[order], "voxels": shared[order].astype(np.int64)}
        if rough.any():
            within = float(drawn.bound[picks[rough]].max())
            notes = (*notes, ROUGH.format(int(rough.sum()), len(picks), within))
        return SearchResult(self._described(at[order]) | columns, notes)

    def _names(self, structures: Structures) -> list[str]:
        """Return structures one by one; a comma separates them unless it is part of an acronym."""
        given = [structures] if isinstance(structures, str | int) else structures
        known = self.ontology.by_acronym
        parted = ([text] if text.strip() in known else text.split(",") for text in map(str, given))
        return [name for names in parted for name in names]

    def _ranked(
        self,
        voxels: str,
        sums: tuple[Float64, Float64],
        bounds: tuple[Threshold, Threshold],
        top: int | None,
    ) -> tuple[Int64, dict[str, npt.NDArray[Any]], tuple[str, ...]]:
        """Return places, columns and notes of experiments, ranked by fold change.

        `sums` has number of voxels and sum of energy of each experiment, in the target and in the contrast.
        """
        at, table = self._sets.places(voxels), self._snapshot.table.columns
        order, columns, notes = by_fold_change(
            table["section_data_set_id"][at], table["energy_error"][at], sums, bounds, top
        )
        return at[order], self._described(at[order]) | columns, notes

    def _across(self, voxels: str) -> Voxels:
        """Return the voxels of a set across its experiments."""
        everywhere = self._order.positions([int(self._order.structure_ids[0])])
        sums = self._sets.sums(voxels)
        checked = self._sets.checked(voxels, everywhere)
        return Voxels(
            self._order,
            checked,
            self._snapshot.blocks,
            self._sets.scales(voxels).exponent,
            checked.over(everywhere)[0] == sums.member.sum(),
            self._snapshot.subject.spacing_um,
        )

    def _places(self, side: str, ids: Sequence[int], sums: SetSums, voxels: str) -> Int64:
        """Return the positions of structures; DataError where none of their voxels is in the set."""
        if not ids:
            raise ConfigError(f"{side}: expected at least one structure, got none")
        places = self._order.positions(ids)
        mask = self._order.mask(places)
        if not (mask & sums.member).any():
            names = ", ".join(self.ontology.by_id[s].acronym for s in ids)
            raise DataError(
                f"{side} {names}: none of its {int(mask.sum())} voxels is in the set {voxels!r}"
                f" ({VOXEL_SETS[voxels]}); choose other structures or another set"
            )
        return places

    def _domain(
        self, domain: Sequence[str | int], sums: SetSums, voxels: str
    ) -> tuple[Bool, npt.NDArray[np.float64] | None]:
        """Return the voxels of a domain, and count, sum and sum of squares of every experiment there."""
        ids = topmost(self.ontology, domain) if domain else (int(self._order.structure_ids[0]),)
        places = self._places("domain", ids, sums, voxels)
        known = None if sums.squares is None else self._sets.checked(voxels, places).over(places)
        return sums.member & self._order.mask(places), known

    def _described(self, at: Int64) -> dict[str, npt.NDArray[Any]]:
        names = ("section_data_set_id", "gene", "plane_of_section")
        return {name: self._snapshot.table.columns[name][at] for name in names}
