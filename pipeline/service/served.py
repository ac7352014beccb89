"""The parts that every endpoint is given."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.core.model import Float64, Structure
from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.content.catalogue import Catalogue
from pipeline.service.http.pool import Pool
from pipeline.service.index import ServedIndex


class Serving(Hashable, Protocol):
    """What endpoints may ask of the server; `app.Service` is it, tests may bring their own."""

    @property
    def catalogue(self) -> Catalogue:
        """The experiments at this moment; take it once a request."""

    @property
    def reference(self) -> ReferenceSpace:
        """The annotated reference at its finest spacing; read at first use."""

    @property
    def reference_directory(self) -> Path | None:
        """Folder of the reference; None for the phantom."""

    @property
    def database(self) -> Path:
        """SQLite file of the models that RMA queries."""

    @property
    def cache(self) -> Path:
        """Folder for what is expensive to make anew."""

    @property
    def pool(self) -> Pool:
        """Threads for what takes longer than 2 ms."""

    @property
    def reference_known(self) -> bool:
        """Whether there is a reference at all."""

    @property
    def index(self) -> ServedIndex:
        """The search index over the experiments."""

    def structure(self, name: str | int) -> Structure:
        """Return a structure by acronym or id; RequestError with 404 where there is none."""

    def centre(self, structure_id: int) -> Float64:
        """Return the centre of a structure, (P, I, R) um; DataError where it has none."""

    def nearest_plate(self, atlas_id: int, point_um: Float64) -> tuple[int, int, float, float]:
        """Return id and section number of the nearest plate of an atlas, and (x, y) px there."""


@dataclass(frozen=True)
class Limits:
    """Bounds of what one request may ask.

    Attributes
    ----------
    region_px : int
        Pixels of an image in an answer.
    decoded_px : int
        Pixels that may be decoded for it.
    ids : int
        Ids in a list.
    rows : int
        Rows of an answer.
    query_bytes : int
        Length of an RMA query.
    query_depth : int
        Nesting of an RMA query.
    query_s : float, s
        Time of an RMA query.
    """

    region_px: int = 64_000_000
    decoded_px: int = 200_000_000
    ids: int = 5_000
    rows: int = 25_000
    query_bytes: int = 32_768
    query_depth: int = 8
    query_s: float = 5.0


LIMITS = Limits()
