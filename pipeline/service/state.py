"""The state of a server: what is served at this moment, with the reference, database and cache behind it."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.core.model import Float64, Structure
from pipeline.core.reference_space import ReferenceSpace
from pipeline.inputs.references import open_reference
from pipeline.service.content.catalogue import Catalogue, Entry, ServedExperiment
from pipeline.service.content.loading import load, served
from pipeline.service.content.numbering import NAME as NUMBERS
from pipeline.service.content.numbering import Numbers
from pipeline.service.content.reference_choice import choose_reference
from pipeline.service.content.scan import Found, find_served, look_again
from pipeline.service.http.answers import RequestError
from pipeline.service.http.pool import Pool
from pipeline.service.index import ServedIndex
from pipeline.service.kept import Kept
from pipeline.service.plates.atlases import nearest_plate
from pipeline.service.rows.database import Database

MOST_LOADED = 400  # experiments whose alignments are kept in memory
UNKNOWN = "the reference is not known: no served run names one; start again with --reference DIR"


class Service:
    """A server's state; it is read by every endpoint and changed by `reload` only.

    Parameters
    ----------
    folders : sequence of Path
        Runs, folders with data_set.xml, or folders that hold such.
    cache : Path
        Folder for what is expensive to make anew; made where it does not exist.
    index : Path or None
        Search index; None: one is kept in the cache.
    reference : Path or None
        Folder of the reference; None: that of the runs.
    say : callable
        Receives notes, one line each.

    Raises
    ------
    ConfigError
        Where the cache cannot be written, or the reference does not fit the runs.
    DataError
        Where a folder has nothing that can be served.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        cache: Path,
        index: Path | None = None,
        reference: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folders, self.cache, self.say = tuple(folders), cache, say
        found = find_served(folders)
        check_cache(cache)
        self.numbers = Numbers(cache / NUMBERS)
        self.pool = Pool()
        chosen = choose_reference(found, reference)
        self.reference_directory, self.reference_known = chosen.directory, chosen.known
        self._reloading = threading.Lock()
        self._noted: frozenset[str] = frozenset()  # said once, not at every look
        self._database = Database(cache, self.folders, self.numbers, chosen)
        self.catalogue = self._take(found, strict=True)
        self.index = ServedIndex(index, cache, self.reference_directory, lambda: self.catalogue, self.folders)

    @property
    def database(self) -> Path:
        """SQLite file of the models that RMA queries."""
        return self._database.path

    @cached_property
    def reference(self) -> ReferenceSpace:
        """The annotated reference at its finest spacing."""
        if not self.reference_known:
            raise RequestError(UNKNOWN, status=404)
        return open_reference(self.reference_directory, None)

    @cached_property
    def centres(self) -> Mapping[int, Float64]:
        """Centres of structures, (P, I, R) um by id."""
        return self._database.centres(self.reference, self.reference_directory)

    def structure(self, name: str | int) -> Structure:
        """Return a structure of the reference.

        Parameters
        ----------
        name : str or int
            Acronym or id.

        Returns
        -------
        Structure
            The structure.

        Raises
        ------
        RequestError
            With 404 where there is none; the message names the nearest.
        """
        try:
            return self.reference.ontology.find(name)
        except DataError as error:
            raise RequestError(str(error), status=404) from None

    def centre(self, structure_id: int) -> Float64:
        """Return the centre of a structure.

        Parameters
        ----------
        structure_id : int
            Id of a structure.

        Returns
        -------
        (3,) float64, um
            (P, I, R), in the left hemisphere.

        Raises
        ------
        DataError
            Where the structure is unknown or has no voxel there.
        """
        structure = self.reference.ontology.find(structure_id)
        found = self.centres.get(structure.id)
        if found is None:
            raise DataError(
                f"structure {structure.acronym} ({structure.id}): no voxel in the left hemisphere of"
                f" {self.reference.name}"
            )
        return found

    def nearest_plate(self, atlas_id: int, point_um: Float64) -> tuple[int, int, float, float]:
        """Return the nearest plate of an atlas.

        Parameters
        ----------
        atlas_id : int
            Atlas.
        point_um : (3,) float64, um
            (P, I, R).

        Returns
        -------
        (int, int, float, float)
            AtlasImage id, its section number, and (x, y) px there.

        Raises
        ------
        RequestError
            Where there is no such atlas.
        """
        return nearest_plate(self.reference, atlas_id, point_um)

    def gene_id(self, symbol: str) -> int:
        """Return the id of a gene.

        Parameters
        ----------
        symbol : str
            Its symbol.

        Returns
        -------
        int
            That of the source, where one numbers it; else the one that is kept for it here.
        """
        return self._database.gene_id(symbol)

    def reload(self) -> bool:
        """Take up what was added, finished, changed or removed since.

        Returns
        -------
        bool
            Whether anything changed.
        """
        with self._reloading:
            found = look_again(self.folders)
            known = {(one.folder, one.stamp) for one in self.catalogue.entries}
            if {(str(one.folder), one.stamp) for one in found} == known:
                return False
            before, now = self.catalogue, self._take(found, strict=False)
            if now.entries == before.entries:  # what is left out still is
                return False
            self.catalogue = now
            return True

    def _take(self, found: Sequence[Found], *, strict: bool) -> Catalogue:
        entries, notes = self._database.update(found, self.reference_part, strict=strict, say=self.say)
        for line in notes:
            if line not in self._noted:
                self.say(f"warning: {line}")
        self._noted = frozenset(notes)
        return catalogue_of(entries)

    def reference_part(self) -> tuple[ReferenceSpace, Path | None] | None:
        """Return the reference and its folder, for rows of structures; None where it is not known."""
        return (self.reference, self.reference_directory) if self.reference_known else None

    def close(self) -> None:
        """End the threads."""
        self.pool.close()


class Experiments(Mapping[int, ServedExperiment]):
    """The served experiments, each read when it is first asked for.

    Parameters
    ----------
    entries : sequence of Entry
        What the database knows of each.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = {entry.id: entry for entry in sorted(entries, key=lambda entry: entry.id)}
        self._loaded: Kept[ServedExperiment] = Kept(MOST_LOADED, lambda _: 1)

    def __getitem__(self, experiment_id: int) -> ServedExperiment:
        entry = self._entries[experiment_id]
        return self._loaded.get(experiment_id, lambda: _loaded(entry))

    def __contains__(self, experiment_id: object) -> bool:
        return experiment_id in self._entries

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _loaded(entry: Entry) -> ServedExperiment:
    found = Found(Path(entry.folder), entry.is_run, entry.stamp)
    try:
        return served(found, load(found), entry.sections)
    except (DataError, MissingResultError) as error:
        raise RequestError(f"SectionDataSet {entry.id}: {error}", status=503) from None


def catalogue_of(entries: Sequence[Entry]) -> Catalogue:
    """Return the catalogue of what the database knows.

    Parameters
    ----------
    entries : sequence of Entry
        Entries.

    Returns
    -------
    Catalogue
        Its experiments are read when they are asked for.
    """
    section_of = {id_: (e.id, number) for e in entries for number, id_ in e.sections.items()}
    return Catalogue(Experiments(entries), section_of, tuple(entries))


def check_cache(cache: Path) -> None:
    """Make the cache folder and check that it can be written.

    Parameters
    ----------
    cache : Path
        The folder.

    Raises
    ------
    ConfigError
        Where it cannot be made or written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        raise ConfigError(
            f"--cache {cache}: expected a folder that can be written, got: {error.strerror}; choose another"
        ) from None
