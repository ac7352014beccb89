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
from pipeline.search.kernels.order import topmost
from pipeline.search.kernels.sums import Block, Scales, SetSums
from pipeline.search.on_disk.experiments import Experiment
from pipeline.search.on_disk.snapshot import IndexSnapshot, IndexSubject, open_snapshot, read_subject
from pipeline.search.result import SearchResult
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
# Notes on voxels outside the brain that had to be compared by their codes of 8 bits.
ROUGH = (
    "{} of {} candidates: their own grids are not available; outside the brain r is computed from 8-bit"
    " codes, within {:.2g}"
)
ROUGH_SEED = "the seed's own grid is not available; outside the brain it is compared by its 8-bit codes"


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
            target_voxels, contrast_voxels and contrast_zero; largest fold change first. Where the contrast
            mean is 0, the fold change is inf and contrast_zero is True: these come last, by target mean.

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
        (here_n, here), (there_n, there) = (self._over(voxels, place)[:2] for place in places)
        found = Contrast.of((here, here_n), (there, there_n))
        at = self._places_of(voxels)
        ids = self._snapshot.table.columns["section_data_set_id"][at]
        order = found.ranked(ids, *bounds)[: _count(top, len(ids))]
        columns = {
            "fold_change": found.fold_change[order],
            "target_mean": found.target_mean[order],
            "contrast_mean": found.contrast_mean[order],
            "target_voxels": here_n[order].astype(np.int64),
            "contrast_voxels": there_n[order].astype(np.int64),
            "contrast_zero": np.isinf(found.fold_change[order]),
        }
        return SearchResult(
            self._described(at[order]) | columns, labels_note(self._snapshot.subject.label_form)
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
    return IndexSubject(space.grid_labels(served=served), space.ontology, space.grid.spacing_um, form)


def _count(top: int | None, everything: int) -> int:
    if top is not None and top < 1:
        raise ConfigError(f"top {top}: expected at least 1")
    return everything if top is None else min(top, everything)
