"""Broken queries: whatever is sent, the answer is rows or a refusal."""

from __future__ import annotations

import random
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.service.http.answers import RequestError
from pipeline.service.rma.answer import answer
from pipeline.service.rma.forms import csv_of, json_of, xml_of
from pipeline.service.rma.parse import query_of
from pipeline.service.rma.schema import MODELS

OPTIONS = "rma::options[num_rows$eq2000][start_row$eq0][order$eq'id'][count$eqfalse]"
ANNOTATED = "model::SectionDataSet,manual_annotations[intensity_call$in'High','Low'](structure[id$in315])"
OLD = "specimen(donor(age[name$in'E13.5'])),probes(gene),rma::options[order$eqages.days desc,genes.acronym]"
ATLAS = "model::Atlas,[id$eq1],rma::options[only$eqimage_type],pipe::list[a$is'image_type'],model::AtlasImage"
SEEDS = (
    f"model::SectionDataSet,rma::criteria,products[id$in1,3],genes[id$in18376,1],rma::include,genes,{OPTIONS}",
    f"model::Structure,[graph_id$in1],rma::include,structure_sets,{OPTIONS}[order$eqstructures.graph_order]",
    f"{ATLAS},atlas_data_set(atlases[id$eq1]),alternate_images[image_type$eq$a],{OPTIONS}",
    f"{ANNOTATED},rma::include,{OLD}",
    "model::SectionDataSet,products[id$eq1],genes,rma::options[tabular$eqdata_sets.id,genes.acronym as gene]",
    "model::Gene,rma::criteria,[acronym$il'pd*'],[entrez_id],[name$ne'x''y'],rma::options[except$eq'sphinx_id']",
    "model::StructureUnionize,structure[graph_id$eq1],hemisphere[id$lt3],rma::include,structure/structure_sets",
    "service::search[a$eq1][b$eq'x,y'],pipe::list[v$is'object/id'],model::Gene[id$in$v]",
)
WORDS = """model:: rma::criteria rma::include rma::options pipe::list service::search $eq $in $il null '' all
1e999 -1 99999999999999999999 NaN inf [id] [id$eq1] id type genes $x (((( [order$eqid]"""
PIECES = (*"[](),:$'+ *%_\\/-.\n\t\x00\"éß\u2028𝔘;?=&", *WORDS.split(), *MODELS)
PARAMETERS = (
    "include",
    "only",
    "except",
    "tabular",
    "order",
    "num_rows",
    "start_row",
    "count",
    "id",
    "debug",
)


def mutated(chance: random.Random) -> dict[str, str]:
    text = chance.choice(SEEDS)
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3, 6])):
        place, end = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
        change = chance.randrange(5)
        if change == 0:
            text = text[:place] + chance.choice(PIECES) + text[place:]
        elif change == 1:
            text = text[:place] + text[place + chance.randint(1, 8) :]
        elif change == 2:
            text = text[:end] + text[place:end] * chance.choice([1, 1, 30]) + text[end:]
        elif change == 3:
            other = chance.choice(SEEDS)
            text = text[:place] + other[chance.randint(0, len(other)) :]
        else:
            text = text[:place] + text[place:end][::-1] + text[end:]
    given = {"criteria": text}
    for name in chance.sample(PARAMETERS, chance.choice([0, 0, 1, 2])):
        given[name] = chance.choice([*PIECES, "genes.acronym desc", "id,name", "true", "3"])
    return given


def survive(database: Path, seed: int) -> SimpleNamespace:
    """Ask a mutated query, write its answer in every form, and return how much of the processor it took."""
    chance = random.Random(seed)
    given = mutated(chance)
    started, answered = time.thread_time(), False
    services = {"search": lambda parameters: [dict(parameters, id=11)]}
    refusal = None
    try:
        found = answer(database, query_of(given, chance.choice(["", "", "Gene"])), services=services)
        answered = all((json_of(found), xml_of(found), csv_of(found)))
    except RequestError as error:
        refusal = error
    assert refusal is None or refusal.status in {400, 414}, (given, refusal)
    assert "\n" not in str(refusal), given
    return SimpleNamespace(seconds=time.thread_time() - started, answered=answered, given=given)


def test_broken_queries_are_answered_or_refused(database: Path) -> None:
    found = [survive(database, seed) for seed in range(3000)]
    assert sum(one.answered for one in found) > 100


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_a_hundred_thousand_broken_queries(database: Path, part: int) -> None:
    found = (survive(database, 3000 + 10_000 * part + n) for n in range(10_000))
    slowest = max(found, key=lambda one: float(one.seconds))
    assert slowest.seconds < 1, slowest.given
