"""The search index behind the connected services: one that is given, or one kept in the cache."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.search.index import SearchIndex, open_index
from pipeline.search.indexing import index_folders
from pipeline.service.content.catalogue import Catalogue
from pipeline.service.content.scan import GRIDS
from pipeline.service.http.answers import RequestError
from pipeline.system.files import real_path
from pipeline.system.whole_files import remove

PATIENCE_S = 2.0  # s that a search waits for another that builds the index


class ServedIndex:
    """An open search index that follows what is served.

    Parameters
    ----------
    given : Path or None
        Index to open; None: one is built in the cache from what is served.
    cache : Path
        The cache.
    reference : Path or None
        Folder of the reference that labels a new index; None: that of the runs.
    catalogue : callable
        Returns what is served now.
    folders : sequence of Path
        What the server was started with; other folders have another index.
    """

    def __init__(
        self,
        given: Path | None,
        cache: Path,
        reference: Path | None,
        catalogue: Callable[[], Catalogue],
        folders: Sequence[Path] = (),
    ) -> None:
        self._given, self._cache, self._reference, self._catalogue = given, cache, reference, catalogue
        named = "\n".join([str(reference), *(str(real_path(folder)) for folder in folders)])
        self._name = f"index-{hashlib.sha256(named.encode()).hexdigest()[:16]}"
        self._lock = threading.Lock()
        self._now: tuple[str, SearchIndex] | None = None  # state and index
        self._place: Path | None = None
        if given is not None:
            self.get()  # a wrong index is said at once

    def get(self) -> SearchIndex:
        """Return the index as it is now, built or opened anew where experiments came or went.

        One thread builds. The others answer from the index as it was, so that searches never hold all
        threads of the server.

        Returns
        -------
        SearchIndex
            The open index.

        Raises
        ------
        RequestError
            Where nothing that is served can be put into an index; with 503 while the first is being built.
        ConfigError
            Where the given index is damaged or none.
        """
        state, now = self._given_state() if self._given else self._built_state(), self._now
        if now is not None and now[0] == state:
            return now[1]
        if not self._lock.acquire(timeout=PATIENCE_S):
            if now is None:
                raise RequestError("search: the index is being built; ask again", status=503)
            return now[1]
        try:
            if self._now is None or self._now[0] != state:
                self._now = state, self._opened() if self._given else self._built()
            return self._now[1]
        finally:
            self._lock.release()

    def _given_state(self) -> str:
        """Return what changes when something is committed to the index."""
        assert self._given is not None
        try:
            files = sorted(path for path in self._given.glob("*") if path.is_file())
            states = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
        except OSError:
            return ""
        return "\n".join(states)

    def _opened(self) -> SearchIndex:
        assert self._given is not None
        try:
            return open_index(self._given)
        except (DataError, MissingResultError) as error:
            raise ConfigError(f"--index {self._given}: {error}") from None

    def _built_state(self) -> str:
        stamps = [f"{one.folder} {one.stamp}" for one in self._catalogue().entries]
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest()

    def _built(self) -> SearchIndex:
        entries = self._catalogue().entries
        folders = [Path(one.folder) for one in entries if one.is_run or _has_grid(Path(one.folder))]
        if not folders:
            raise RequestError(
                "no experiment with a grid is served yet: there is nothing to search", status=404
            )
        place = self._place_for({entry.id for entry in entries})
        try:
            try:
                index_folders(folders, place, self._reference)
            except DataError:  # damaged since, or of another state of the reference: it can be made anew
                remove(place)
                index_folders(folders, place, self._reference)
            found = open_index(place)
        except (ConfigError, DataError, MissingResultError) as error:
            raise RequestError(f"search: {error}") from None
        self._place = place
        return found

    def _place_for(self, ids: set[int]) -> Path:
        """Return the folder of the index: one that only has to grow, else the other of two, emptied.

        An index takes experiments in and never lets one go. The one that is open stays as it is while its
        successor is built, for the searches that are under way.
        """
        places = [self._cache / f"{self._name}-{letter}" for letter in "ab"]
        for place in places:
            if place.exists() and _held(place) <= ids:
                return place
        chosen = places[1] if self._place == places[0] else places[0]
        remove(chosen)
        return chosen


def _held(place: Path) -> set[float]:
    """Return the ids in an index; infinity, which nothing has, where it is damaged."""
    try:
        return set(open_index(place).experiments["section_data_set_id"].tolist())
    except (ConfigError, DataError, MissingResultError):
        return {math.inf}


def _has_grid(folder: Path) -> bool:
    """Return whether a served data set has a grid; one of data_set.xml alone has none."""
    return any((folder / name).is_file() for name in GRIDS)
