"""Ancestors and descendants of a structure or a specimen, as a flat list."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.did_you_mean import hint
from pipeline.service.http.answers import RequestError
from pipeline.service.rma.answer import Answer, ask
from pipeline.service.rma.compile import Statement
from pipeline.service.rma.database import reading, run
from pipeline.service.rma.schema import MODELS
from pipeline.service.rma.syntax import Filter, ModelStage, Options, Variable

PARENTS = {"Structure": "parent_structure_id", "Specimen": "parent_id"}
DEEPEST = 100  # levels; ends a circle in the data

_UP = """
WITH RECURSIVE line(id, level) AS (
  SELECT ?1, 0
  UNION SELECT own."{parent}", line.level - 1 FROM line JOIN "{table}" AS own ON own."id" = line.id
  WHERE own."{parent}" IS NOT NULL AND line.level > -{deepest}
) SELECT id, level FROM line"""
_DOWN = """
WITH RECURSIVE line(id, level) AS (
  SELECT ?1, 0
  UNION SELECT own."id", line.level + 1 FROM line JOIN "{table}" AS own ON own."{parent}" = line.id
  WHERE line.level < {deepest}
) SELECT id, level FROM line"""


def tree_search(database: Path, model: str, record: int, *, ancestors: bool, descendants: bool) -> Answer:
    """Return a record with those above and below it.

    Parameters
    ----------
    database : Path
        SQLite file.
    model : str
        Structure or Specimen.
    record : int
        Id to start from.
    ancestors, descendants : bool
        Which to return; the record itself comes in any case.

    Returns
    -------
    Answer
        Records by level, the highest first, by id within a level.

    Raises
    ------
    RequestError
        With 400 for another model, 404 for an unknown id.
    """
    if model not in PARENTS:
        raise RequestError(f"tree_search: {model!r} has no tree; {hint(model, PARENTS)}")
    table, parent = MODELS[model].table, PARENTS[model]
    levels = {record: 0}
    with reading(database) as connection:
        for wanted, sql in ((ancestors, _UP), (descendants, _DOWN)):
            if wanted:
                line = sql.format(table=table, parent=parent, deepest=DEEPEST)
                for found, level in run(connection, Statement(line, (record,))):
                    levels.setdefault(found, level)
        stage = ModelStage(model, (Filter("id", "in", (Variable("line"),)),), options=Options(num_rows=None))
        answer = ask(connection, stage, {"line": tuple(levels)})
    if not any(row["id"] == record for row in answer.rows):
        raise RequestError(f"{model} {record} does not exist here", status=404)
    answer.rows.sort(key=lambda row: levels[row["id"]])
    return answer
