"""The table that compares runs."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.model import Structure
from pipeline.core.ontology import Ontology
from pipeline.report.comparison import Compared, wide_table
from pipeline.store.run import RunFolder


def test_structures_of_one_acronym_have_columns_of_their_own(tmp_path: Path) -> None:
    rows = [(1, "root", None), (2, "L1", 1), (3, "L1", 1), (4, "TH", 1)]
    ontology = Ontology(tuple(Structure(i, name, name, up, i, "70FF71") for i, name, up in rows))
    (row,) = wide_table([Compared.of(RunFolder(tmp_path), "a", {})], ontology)
    assert [name for name in row if name.startswith("energy_")] == ["energy_L1-2", "energy_L1-3", "energy_TH"]
