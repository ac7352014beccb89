"""Connected services of the original over a search index: what RMA's `service::` stages call."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipeline.core.errors import MissingResultError, PipelineError
from pipeline.search.index import SearchIndex
from pipeline.search.kernels.point import TooFewError
from pipeline.search.point import CONTRAST, LOCAL, TARGET, WIDER, parse_point
from pipeline.service.http.answers import RequestError
from pipeline.service.http.parameters import id_of, word
from pipeline.service.rma.answer import Answer
from pipeline.service.served import LIMITS

SETS = {"mouse": "all", "mouse_coronal": "coronal"}  # the original's names of voxel sets, and ours
AGES = ("P56",)
ROWS = 2000  # rows of an answer, unless the request says otherwise
_PAGE = ("start_row", "num_rows")
_DIFFERENTIAL = ("set", "structures1", "structures2", "threshold1", "threshold2", *_PAGE)
_OLDER = {  # parameters of the web page's own name for the differential search
    "domain1": "structures1",
    "domain1_threshold": "threshold1",
    "domain2": "structures2",
    "domain2_threshold": "threshold2",
}

Parameters = Mapping[str, str]
Service = Callable[[dict[str, str]], Answer]


@dataclass(frozen=True)
class Page:
    """Which rows of all that were found belong to an answer.

    Attributes
    ----------
    start : int
        Rows before the first.
    rows : int
        Rows at most.
    """

    start: int
    rows: int

    @classmethod
    def of(cls, parameters: Parameters) -> Page:
        """Read start_row and num_rows.

        Parameters
        ----------
        parameters : mapping of str to str
            Parameters of the request.

        Returns
        -------
        Page
            The first 2,000 rows by default.

        Raises
        ------
        RequestError
            Where either is no whole number, or more rows are wanted than an answer may have.
        """
        start, rows = (parameters.get(name, "") for name in _PAGE)
        every = rows.lower() == "all"
        page = cls(_whole("start_row", start, 0), LIMITS.rows if every else _whole("num_rows", rows, ROWS))
        if page.rows > LIMITS.rows:
            raise RequestError(
                f"num_rows: at most {LIMITS.rows}, got {page.rows}; ask page by page with start_row"
            )
        return page

    def check(self, total: int) -> None:
        """Refuse a page past the end: clients that page ask until then.

        Parameters
        ----------
        total : int
            Rows in all.

        Raises
        ------
        RequestError
            Where the first row of the page does not exist.
        """
        if self.start and self.start >= total:
            raise RequestError(f"start_row {self.start}: past the end, there are {total} rows")


class _Connected:
    """The services over one index."""

    def __init__(self, index: Callable[[], SearchIndex], gene_ids: Callable[[str], int]) -> None:
        self._index, self._gene_ids = index, gene_ids

    def differential(self, parameters: Parameters) -> Answer:
        page = Page.of(parameters)
        found = self._index().differential(
            _names(parameters, "structures2"),
            _names(parameters, "structures1"),
            voxels=SETS[word(parameters.get("set", "mouse"), "set", SETS)],
            target_threshold=parameters.get("threshold2") or None,
            contrast_threshold=parameters.get("threshold1") or None,
        )
        return self._contrasted(found.columns, page)

    def older_differential(self, parameters: Parameters) -> Answer:
        # The web page calls the set by the age of the mice.
        age = word(parameters.get("set", AGES[0]), "set", AGES)
        named = {_OLDER.get(name, name): value for name, value in parameters.items()}
        return self.differential(named | {"set": {"P56": "mouse"}[age]})

    def correlation(self, parameters: Parameters) -> Answer:
        page = Page.of(parameters)
        voxels = SETS[word(parameters.get("set", "mouse"), "set", SETS)]
        ascending = word(parameters.get("sort_order", "desc"), "sort_order", ("asc", "desc")) == "asc"
        index = self._index()
        known = index.experiments
        seed = id_of(_needed(parameters, "row"), "row")
        if seed not in known["section_data_set_id"]:
            raise RequestError(f"row {seed}: not among the {len(index)} experiments of the index")
        domain = _names(parameters, "structures") if parameters.get("structures", "").strip() else []
        most = len(index) if voxels == "all" else int((known["plane_of_section"] == "coronal").sum())
        top = None if ascending else max(1, page.start + page.rows)
        columns = index.correlation(seed, domain=domain, voxels=voxels, top=top).columns
        if ascending:
            columns = {name: values[::-1] for name, values in columns.items()}
        found = len(columns["r"])
        # Only a list that was cut may be longer than what was found.
        total = found if top is None or found < top else most
        page.check(found)
        chosen = slice(page.start, page.start + page.rows)
        described = self._described(columns, chosen)
        rows = [
            row | {"r": _text(r)} for row, r in zip(described, columns["r"][chosen].tolist(), strict=True)
        ]
        return Answer(rows, page.start, max(total, page.start + len(rows)))

    def at_point(self, parameters: Parameters) -> Answer:
        page = Page.of(parameters)
        word(parameters.get("set", "mouse_coronal"), "set", ("mouse_coronal",))
        for name in ("seed_age", "map_age"):
            word(parameters.get(name, AGES[0]), name, AGES)
        point = parse_point(_needed(parameters, "seed_point"), "seed_point")
        # The original's page sends 1,50 as threshold1 and 0,50 as threshold2, the bounds that its
        # differential search has for target and contrast. The target is the local domain.
        found = self._index().at_point(
            point,
            wider=_real(parameters, "correlation_threshold1", WIDER),
            local=_real(parameters, "correlation_threshold2", LOCAL),
            target_threshold=parameters.get("threshold1") or TARGET,
            contrast_threshold=parameters.get("threshold2") or CONTRAST,
        )
        return self._contrasted(found.columns, page)

    def text(self, parameters: Parameters) -> Answer:
        wanted = _needed(parameters, "query_string").casefold()
        most = min(_whole("k", parameters.get("k", ""), ROWS), LIMITS.rows)
        known = self._index().experiments
        ids, genes = known["section_data_set_id"].tolist(), known["gene"].tolist()
        # Whole symbols before those that begin so, and these before the others.
        ranked = sorted(
            (_rank(wanted, str(number), (gene or "").casefold()), (gene or "").casefold(), number, at)
            for at, (number, gene) in enumerate(zip(ids, genes, strict=True))
            if wanted in (gene or "").casefold() or wanted == str(number)
        )
        places = np.array([place[-1] for place in ranked[:most]], np.int64)
        columns = {name: values[places] for name, values in known.items()}
        return Answer(list(self._described(columns, slice(None))), 0, len(ranked))

    def _contrasted(self, columns: Mapping[str, Any], page: Page) -> Answer:
        """Return a page of a ranking by fold change."""
        total = len(columns["fold_change"])
        page.check(total)
        chosen = slice(page.start, page.start + page.rows)
        part = {name: values[chosen] for name, values in columns.items()}
        sums = {
            f"{side}-sum": part[f"{side}_mean"] * part[f"{side}_voxels"] for side in ("target", "contrast")
        }
        figures = {"fold-change": part["fold_change"], **sums}
        values = zip(*(column.tolist() for column in figures.values()), strict=True)
        rows = [
            described | dict(zip(figures, map(_text, row), strict=True))
            for described, row in zip(self._described(columns, chosen), values, strict=True)
        ]
        return Answer(rows, page.start, total)

    def _described(self, columns: Mapping[str, Any], chosen: slice) -> list[dict[str, str]]:
        """Return what is said of each experiment; empty where an index does not know it."""
        names = ("section_data_set_id", "gene", "plane_of_section")
        parts = (columns[name][chosen].tolist() for name in names)
        return [
            {
                "id": str(number),
                "gene-id": str(self._gene_ids(gene)) if gene else "",
                "entrez-id": "",
                "gene-symbol": gene or "",
                "gene-name": "",
                "plane-of-section": plane or "",
            }
            for number, gene, plane in zip(*parts, strict=True)
        ]


def services(index: Callable[[], SearchIndex], gene_ids: Callable[[str], int]) -> dict[str, Service]:
    """Return the connected services over an index.

    Parameters
    ----------
    index : callable
        Returns the open index; called once a request.
    gene_ids : callable
        Returns the id of the gene with a symbol.

    Returns
    -------
    dict of str to callable
        By name: from parameters to rows with hyphenated keys and values of text. `RequestError` is raised
        for a parameter that is unknown, missing or not valid, and for a page past the end.
    """
    own = _Connected(index, gene_ids)
    agea = ("set", "seed_age", "map_age", "seed_point", "correlation_threshold1", "correlation_threshold2")
    known: dict[str, tuple[Callable[[Parameters], Answer], Sequence[str]]] = {
        "mouse_differential": (own.differential, _DIFFERENTIAL),
        "differential_rows": (own.older_differential, ("set", *_OLDER, *_PAGE)),
        "mouse_correlation": (own.correlation, ("set", "row", "structures", "sort_order", *_PAGE)),
        "mouse_agea": (own.at_point, (*agea, "threshold1", "threshold2", *_PAGE)),
        "text_search": (own.text, ("query_string", "k")),
    }
    return {name: partial(_ask, name, *parts) for name, parts in known.items()}


def _ask(
    name: str, service: Callable[[Parameters], Answer], names: Sequence[str], parameters: Parameters
) -> Answer:
    """Call a service; whatever it refuses begins with its name."""
    try:
        for given in parameters:
            if given not in names:
                raise RequestError(f"no parameter {given[:40]!r}; there are {', '.join(names)}")
        return service({given: value.strip() for given, value in parameters.items()})
    except (MissingResultError, TooFewError):  # no experiment of the set: nothing is found
        page = Page.of(parameters)
        page.check(0)
        return Answer([], page.start, 0)
    except PipelineError as error:
        status = error.status if isinstance(error, RequestError) else 400
        raise RequestError(f"service::{name}: {error}", status) from None


def _needed(parameters: Parameters, name: str) -> str:
    value = parameters.get(name, "")
    if not value:
        raise RequestError(f"expected {name}, got none; give [{name}$eq...]")
    return value


def _names(parameters: Parameters, name: str) -> list[str]:
    """Return structures, by id or acronym."""
    names = [part.strip() for part in _needed(parameters, name).split(",") if part.strip()]
    if len(names) > LIMITS.ids:
        raise RequestError(f"{name}: expected at most {LIMITS.ids} structures, got {len(names)}")
    return names


def _whole(name: str, text: str, default: int) -> int:
    if not text:
        return default
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) is None:
        raise RequestError(f"{name}: expected a whole number from 0, got {text[:20]!r}")
    return int(text)


def _real(parameters: Parameters, name: str, default: float) -> float:
    text = parameters.get(name, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise RequestError(f"{name}: expected a number, got {text[:20]!r}") from None


def _rank(wanted: str, number: str, gene: str) -> int:
    return 0 if wanted in (number, gene) else 1 if gene.startswith(wanted) else 2


def _text(value: float) -> str:
    """Return a number as text: seven digits, as the original's sums have."""
    return f"{value:.7g}"
