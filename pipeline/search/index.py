"""Python interface of the search: build an index, open it, query it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import ConfigError, DataError, MissingResultError, PipelineError
from pipeline.core.model import Bool, Float32, Float64, Int64
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace, labels_note
from pipeline.search.build import (
    VOXEL_SETS,
    BuildReport,
    check_output,
    fill_index,
    parallel,
    sum_set,
    voxel_order,
)
from pipeline.search.kernels.codes import Row, check_grid, decode_brain, decode_outside, encode_brain
from pipeline.search.kernels.correlation import Estimate, Probe, candidates, estimate, rerank, scan
from pipeline.search.kernels.differential import Contrast, Threshold
from pipeline.search.kernels.networks import profile_correlation
from pipeline.search.kernels.order import topmost
from pipeline.search.kernels.sums import Block, Scales, SetSums
from pipeline.search.kernels.ties import rank_ranges
from pipeline.search.notes import RANKS, ROUGH, ROUGH_SEED
from pipeline.search.on_disk.experiments import Experiment
from pipeline.search.on_disk.snapshot import IndexSnapshot, IndexSubject, open_snapshot, read_subject
from pipeline.search.point import CONTRAST, LOCAL, TARGET, WIDER, Domains, PointResult, Voxels
from pipeline.search.result import SearchResult, StructureNetwork
from pipeline.search.sources import (
    ExperimentSource,
    brain_check,
    find_experiments,
    labels_reference,
    read_grid_file,
)

__all__ = [
    "VOXEL_SETS",
    "BuildReport",
    "Experiment",
    "SearchIndex",
    "build_index",
    "index_folders",
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
        stored = {name: snapshot.stored_sums(name) for name in VOXEL_SETS}
        self._stored = {name: found for name, found in stored.items() if found is not None}
        self._sums = {name: found.sums for name, found in self._stored.items()}
        self._intact: set[int] = set()  # places whose rows passed their checksums
        self._at: dict[str, Int64] = {}  # places of a voxel set's experiments in the table

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
        mask[self._order.brain] = self._set(voxels).member[: len(self._order.brain)]
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
        sums = self._set(voxels)
        places = [
            self._places(name, ids, sums, voxels)
            for name, ids in zip(("target", "contrast"), wanted, strict=True)
        ]
        here, there = (self._over(voxels, place)[:2] for place in places)
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
            self._whole_row(place)
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
        before = np.concatenate([[0], np.cumsum(self._set(voxels).member)])
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
        found, sums = self.structures(voxels), self._set(voxels)
        if structures:
            wanted = [self.ontology.find(name).id for name in self._names(structures)]
            for one in wanted:
                self._places("structures", [one], sums, voxels)
            found = found.where(np.isin(found.columns["structure_id"], wanted))
        places = self._order.positions(found.columns["structure_id"].tolist())
        self._over(voxels, places)  # checks what is stored
        r, shared = profile_correlation(self._sums[voxels].means(places))
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
        sums = self._set(voxels)
        member, known = self._domain(self._names(domain), sums, voxels)
        everywhere = voxels == "grid" and not domain
        brain, outside, notes = self._seed(seed, everywhere)
        notes += labels_note(self._snapshot.subject.label_form) if domain else ()
        probe = Probe.of(brain, member, outside)
        if probe.voxels < int(member.sum()):
            known = None  # stored sums include voxels that the seed lacks
        drawn = self._scan(sums, probe, known)
        wanted = _count(top, len(sums.slots))
        picks = candidates(drawn, wanted)
        r, shared, rough = self._rerank(sums, probe, picks)
        at = self._places_of(voxels)[picks]
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
        (here_n, here), (there_n, there) = sums
        found = Contrast.of((here, here_n), (there, there_n))
        at = self._places_of(voxels)
        ids = self._snapshot.table.columns["section_data_set_id"][at]
        kept, wanted = found.ranked(ids, *bounds), _count(top, len(ids))
        error = self._snapshot.table.columns["energy_error"][at[kept]]
        ends = rank_ranges(found.fold_change[kept], error, wanted)
        unknown = int(np.isnan(error).sum())
        notes = (RANKS.format(unknown, len(kept)),) if ends[0].any() else ()
        order = kept[:wanted]
        columns = {
            "fold_change": found.fold_change[order],
            "target_mean": found.target_mean[order],
            "contrast_mean": found.contrast_mean[order],
            "target_voxels": here_n[order].astype(np.int64),
            "contrast_voxels": there_n[order].astype(np.int64),
            "contrast_zero": np.isinf(found.fold_change[order]),
            "rank_first": _or_none(ends[0]),
            "rank_last": _or_none(ends[1]),
        }
        return at[order], self._described(at[order]) | columns, notes

    def _across(self, voxels: str) -> Voxels:
        """Return the voxels of a set across its experiments."""
        sums = self._set(voxels)
        whole = self._over(voxels, self._order.positions([int(self._order.structure_ids[0])]))[0]
        return Voxels(
            self._order,
            self._sums[voxels],
            self._snapshot.blocks,
            self._scales(sums).exponent,
            whole == sums.member.sum(),
            self._snapshot.subject.spacing_um,
        )

    def _set(self, voxels: str) -> SetSums:
        """Return the sums of a voxel set, computed where they are not stored."""
        if voxels not in VOXEL_SETS:
            raise ConfigError(f"voxels {voxels!r}: expected one of {', '.join(VOXEL_SETS)}")
        if voxels not in self._sums:
            self._sums[voxels] = sum_set(voxels, self._order, self._snapshot.table, self._snapshot.blocks)
        found = self._sums[voxels]
        if not len(found.slots):
            kind = "coronal experiment" if voxels == "coronal" else "experiment"
            raise MissingResultError(f"{self._snapshot.path}: holds no {kind} yet; add some with `ish index`")
        return found

    def _over(self, voxels: str, positions: Int64) -> Float64:
        """Return `SetSums.over`; stored sums that are damaged are computed again from the rows."""
        if voxels in self._stored:
            try:
                self._stored[voxels].check(positions.tolist())
            except DataError:
                del self._stored[voxels]
                self._sums[voxels] = sum_set(voxels, self._order, self._snapshot.table, self._snapshot.blocks)
        return self._sums[voxels].over(positions)

    def _places_of(self, voxels: str) -> Int64:
        """Return the places of a voxel set's experiments in the table."""
        if voxels not in self._at:
            self._at[voxels] = np.searchsorted(self._snapshot.slots, self._set(voxels).slots)
        return self._at[voxels]

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
        known = None if sums.squares is None else self._over(voxels, places)
        return sums.member & self._order.mask(places), known

    def _seed(
        self, seed: int | str | Path | Float32, everywhere: bool
    ) -> tuple[Float32, Float32, tuple[str, ...]]:
        """Return a seed's brain voxels, those outside (empty if not wanted), and notes."""
        if isinstance(seed, np.ndarray):
            return self._parts(check_grid(seed, self._order.shape), everywhere)
        at = self._place_of(seed)
        if at is None:
            noted: list[str] = []
            brain, beyond, notes = self._parts(self._read(Path(str(seed)), noted.append), everywhere)
            return brain, beyond, (*notes, *(f"seed {line}" for line in noted))
        row = self._whole_row(at)
        if not everywhere:
            return decode_brain(row), np.empty(0, np.float32), ()
        own = self._own_outside(int(self._snapshot.slots[at]))
        if own is None:
            return decode_brain(row), decode_outside(row), (ROUGH_SEED,)
        return decode_brain(row), own, ()

    def _parts(self, grid: Float32, everywhere: bool) -> tuple[Float32, Float32, tuple[str, ...]]:
        brain, outside = self._order.split(grid)
        return brain, outside if everywhere else outside[:0], ()

    def _place_of(self, seed: int | str | Path) -> int | None:
        """Return the place of a seed in the table; None where it is a file."""
        if isinstance(seed, Path) or not str(seed).strip().isdigit():
            if not Path(str(seed)).exists():
                raise DataError(f"seed {seed}: expected an id of the index or a grid file, got no such file")
            return None
        at = np.flatnonzero(self._snapshot.table.columns["section_data_set_id"] == int(seed))
        if not len(at):
            raise DataError(f"seed {seed}: not among the {len(self)} experiments of {self._snapshot.path}")
        return int(at[0])

    def _read(self, path: Path, note: Callable[[str], None] = lambda line: None) -> Float32:
        try:
            return check_grid(
                read_grid_file(path, self._snapshot.subject.spacing_um, note), self._order.shape
            )
        except PipelineError as error:
            raise DataError(f"seed {path}: {str(error).removeprefix(f'{path}: ')}") from None

    def _own_outside(self, slot: int) -> Float32 | None:
        """Return an experiment's voxels outside the brain from its own grid; None where it is not available.

        A grid whose brain voxels differ from those of the index is not the grid that was indexed.
        """
        source = str(self._snapshot.table.columns["source"][np.searchsorted(self._snapshot.slots, slot)])
        try:
            grid = self._read(Path(source)) if source else None
        except PipelineError:
            return None
        if grid is None:
            return None
        brain, outside = self._order.split(grid)
        return outside if self._row(slot).holds_brain(*encode_brain(brain)) else None

    def _scan(self, sums: SetSums, probe: Probe, known: Float64 | None) -> Estimate:
        """Estimate r of every experiment of a voxel set from its codes."""
        scales, out = self._scales(sums), np.empty((len(sums.slots), 7))

        def one(block: Block) -> None:
            rows, at = block.rows(sums.slots)
            out[at] = scan(block, rows, scales.take(at), probe, None if known is None else known[:, at])

        parallel(one, self._snapshot.blocks)
        return estimate(out)

    def _rerank(self, sums: SetSums, probe: Probe, picks: Int64) -> tuple[Float64, Float64, Bool]:
        """Re-rank candidates by full values.

        Returns r, the number of shared voxels, and where voxels outside the brain had to be read from codes
        of 8 bits.
        """
        scales, out = self._scales(sums), np.empty((2, len(picks)))
        rough = np.zeros(len(picks), np.bool_)

        def outside(slot: int, at: int) -> Float32:
            if not probe.outside.size:
                return np.empty(0, np.float32)
            own = self._own_outside(slot)
            rough[at] = own is None
            return decode_outside(self._row(slot)) if own is None else own

        def one(block: Block) -> None:
            rows, here = block.rows(sums.slots[picks])
            if len(rows):
                slots = sums.slots[picks[here]].tolist()
                for slot in slots:
                    self._row(slot)
                beyond = np.stack([outside(slot, here.start + i) for i, slot in enumerate(slots)])
                out[:, here] = rerank(block, rows, scales.take(picks[here]), probe, beyond)

        parallel(one, self._snapshot.blocks)
        return out[0], out[1], rough

    def _row(self, slot: int) -> Row:
        return self._whole_row(int(np.searchsorted(self._snapshot.slots, slot)))

    def _whole_row(self, at: int) -> Row:
        """Return the row of the experiment at a place, after verifying its checksum once."""
        if at not in self._intact:
            self._snapshot.check_row(at)
            self._intact.add(at)
        return self._snapshot.row(at)

    def _scales(self, sums: SetSums) -> Scales:
        return self._snapshot.scales.take(np.searchsorted(self._snapshot.slots, sums.slots))

    def _described(self, at: Int64) -> dict[str, npt.NDArray[Any]]:
        names = ("section_data_set_id", "gene", "plane_of_section")
        return {name: self._snapshot.table.columns[name][at] for name in names}


def build_index(
    output: Path | str,
    experiments: Iterable[tuple[Experiment, Float32]],
    reference: ReferenceSpace | None = None,
    *,
    served_labels: bool = False,
) -> BuildReport:
    """Put experiments into an index, one at a time; readers see each as soon as it is committed.

    Parameters
    ----------
    output : Path or str
        Folder of an index, which is created where there is none.
    experiments : iterable of (Experiment, (P, I, R) float32)
        Experiments with their energy grids; NaN = no data.
    reference : ReferenceSpace, optional
        Labels of a new index; an existing index keeps its own.
    served_labels : bool
        Take the reference's gridAnnotation instead of its annotation.

    Returns
    -------
    BuildReport
        Numbers of experiments added, replaced and unchanged; `errors` has a line for each one left out.

    Raises
    ------
    DataError
        Where an existing index has other labels, is damaged, or is being written by another process.
    MissingResultError
        Where there is no index and no reference.
    """
    jobs = ((f"experiment {e.section_data_set_id}", lambda e=e, g=g: (e, g)) for e, g in experiments)
    return fill_index(Path(output), _subject(reference, served_labels), jobs, lambda name, what: None)


def index_folders(
    folders: Sequence[Path],
    output: Path,
    reference: Path | None = None,
    *,
    served_labels: bool = False,
    declared: Path | None = None,
    listener: Callable[[str, str], None] = lambda name, what: None,
) -> BuildReport:
    """Put finished runs, and folders or zips of served grids, into an index.

    Parameters
    ----------
    folders : sequence of Path
        Each a run, a folder with energy.mhd, a zip, or a folder that holds such.
    output : Path
        Folder of an index, which is created where there is none.
    reference : Path, optional
        Folder of the reference that labels a new index. Default: the reference of the runs; runs of another
        brain are then left out.
    served_labels : bool
        Take the reference's gridAnnotation instead of its annotation.
    declared : Path, optional
        CSV with section_data_set_id, gene and plane_of_section of served grids.
    listener : callable
        Progress callback: listener(name, outcome) after each experiment; a warning is passed as both.

    Returns
    -------
    BuildReport
        Counts, errors and warnings.

    Raises
    ------
    ConfigError
        Where the output lies in an input folder, or a new index has no reference.
    DataError
        Where a folder holds no experiment, or the index has other labels or is damaged.
    """
    check_output(output, folders)
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        listener(line, line)

    sources = find_experiments(folders, declared, note)
    new = not (output / "zarr.json").exists()
    space = labels_reference(reference, folders) if new or reference else None
    subject = _subject(space, served_labels) or read_subject(output)
    check = brain_check(subject.labels)

    def read(source: ExperimentSource) -> tuple[Experiment, Float32]:
        if reference is None:
            check(source.path)
        return source.read(subject.spacing_um, note)

    report = fill_index(output, subject, ((s.name, partial(read, s)) for s in sources), listener)
    report.notes += notes
    return report


def _subject(space: ReferenceSpace | None, served: bool) -> IndexSubject | None:
    if space is None:
        return None
    form = "served" if served else "derived"
    labels = space.grid_labels(served=served)
    return IndexSubject(labels, space.ontology, space.grid.spacing_um, form, space.midline_um)


def _or_none(ranks: Int64) -> npt.NDArray[Any]:
    """Return ranks as objects, None where there is none."""
    found = ranks.astype(object)
    found[ranks == 0] = None
    return found


def _count(top: int | None, everything: int) -> int:
    if top is not None and top < 1:
        raise ConfigError(f"top {top}: expected at least 1")
    return everything if top is None else min(top, everything)
