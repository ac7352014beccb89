"""Records of the models that a data_set.xml states: specimen, donor, genes, probes and products."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

Record = dict[str, str | None]
# Paths of the records in the document, by the table of their model.
RECORDS = {
    "products": "products/product",
    "specimens": "specimen",
    "donors": "specimen/donor",
    "ages": "specimen/donor/age",
    "genes": "genes/gene",
    "probes": "probes/probe",
    "treatments": "treatments/treatment",
    "equalizations": "equalization",
}


@dataclass(frozen=True)
class Described:
    """What a data_set.xml states beyond the geometry of the series.

    Attributes
    ----------
    own : dict of str to str or None
        Fields of the data set.
    records : dict of str to list of dict
        Fields of the records that it holds, by table.
    images : dict of int to dict
        Fields of section images, by section number.
    """

    own: Record = field(default_factory=dict)
    records: Mapping[str, list[Record]] = field(default_factory=dict)
    images: Mapping[int, Record] = field(default_factory=dict)

    def first(self, table: str) -> Record:
        """Return the first record of a table.

        Parameters
        ----------
        table : str
            Table of a model.

        Returns
        -------
        dict of str to str or None
            Its fields; empty where there is none.
        """
        return next(iter(self.records.get(table, ())), {})


def read_described(path: Path | None) -> Described:
    """Read what a data_set.xml states; its form was checked when the series was read.

    Parameters
    ----------
    path : Path or None
        The document; None, or one that is gone or damaged by now, states nothing.

    Returns
    -------
    Described
        Its records.
    """
    if path is None:
        return Described()
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return Described()
    found = root if root.tag == "section-data-set" else root.find(".//section-data-set")
    if found is None:
        return Described()
    records = {table: [fields(e) for e in found.iterfind(place)] for table, place in RECORDS.items()}
    images = {
        int(element.findtext("section-number") or 0): fields(element)
        for element in found.iterfind("section-images/section-image")
    }
    return Described(fields(found), records, images)


def fields(element: Element) -> Record:
    """Return the plain fields of a record, names with underscores as columns have them.

    Parameters
    ----------
    element : Element
        The record.

    Returns
    -------
    dict of str to str or None
        None where the document says nil.
    """
    found: Record = {}
    for child in element:
        if len(child) == 0:
            text = (child.text or "").strip()
            found[child.tag.replace("-", "_")] = text or None
    return found
