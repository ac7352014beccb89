"""abagen.mouse against `ish serve`: genes, structures and their coordinates, structure tables of genes."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from abagen import mouse
from checking import Case, near, run, same
from redirect import redirect

SPACES = {"sagittal": 10, "coronal": 9}


def genes(case: Case) -> None:
    """fetch_allenref_genes lists every gene once."""
    found = mouse.fetch_allenref_genes(cache=False, verbose=False)
    same(sorted(found["acronym"]), sorted(set(filter(None, case.facts["genes"]))), "acronyms")
    same(list(found["id"]), sorted(set(found["id"])), "ids")


def gene_info(case: Case) -> None:
    """get_gene_info returns all attributes of genes, by acronym and by id."""
    several = sorted(set(filter(None, case.facts["genes"][:40])))
    gene = several[0]
    found = mouse.get_gene_info(acronym=several)
    same(sorted(found.index), several, "genes")
    assert set(mouse.available_gene_info()) - {"acronym"} <= set(found.columns), "attributes"
    one = mouse.get_gene_info(acronym=gene, attributes="id")["id"].iloc[0]
    again = mouse.get_gene_info(id=int(one), attributes=["acronym", "organism_id"])
    same((again["acronym"].iloc[0], int(again["organism_id"].iloc[0])), (gene, 2), "gene by its id")


def structures(case: Case) -> None:
    """fetch_allenref_structures lists every structure once."""
    found = mouse.fetch_allenref_structures(cache=False, verbose=False)
    rows = sorted((one["id"], one["acronym"], one["name"]) for one in case.facts["structures"])
    same(list(zip(found["id"], found["acronym"], found["name"], strict=True)), rows, "structures")


def structure_info(case: Case) -> None:
    """get_structure_info returns all attributes of structures, by id and by name."""
    some = case.facts["structures"][1:30:5]
    found = mouse.get_structure_info(id=[one["id"] for one in some])
    assert set(mouse.available_structure_info()) - {"id"} <= set(found.columns), "attributes"
    for one in some:
        row = found.loc[one["id"]]
        same((row["acronym"], row["name"]), (one["acronym"], one["name"]), "acronym and name")
        same(int(row["parent_structure_id"]), one["path"][-2], "parent")
        same(int(row["depth"]), len(one["path"]) - 1, "depth")
    names = [one["name"] for one in some]  # a list is sent in quotes, a lone name is not
    by_name = mouse.get_structure_info(name=names, attributes="id")
    assert {one["id"] for one in some} <= set(by_name["id"]), "structures by name"


def structure_coordinates(case: Case) -> None:
    """get_structure_coordinates returns the centres of structures, um, in both spaces."""
    wanted = sorted(map(int, case.facts["centres"]))[::7][:50]  # abagen takes one page of 50 rows
    for space in SPACES:
        found = mouse.get_structure_coordinates(id=wanted, reference_space=space)
        same(sorted(found["structure_id"]), wanted, f"{space}: structures")
        for row in found.to_dict("records"):
            centre = case.facts["centres"][str(row["structure_id"])]
            near([row["x"], row["y"], row["z"]], centre, 0.5, f"{space}: centre")  # whole um


def _rows(case: Case) -> dict[str, list[dict[str, Any]]]:
    """Return the experiments of runs by plane."""
    found: dict[str, list[dict[str, Any]]] = {}
    for experiment in case.facts["experiments"].values():
        if experiment["unionize"]:
            found.setdefault(experiment["plane"], []).append(experiment)
    return found


def unionization(case: Case) -> None:
    """get_unionization_from_gene returns the structure tables of the runs, one row a structure."""
    for plane, experiments in _rows(case).items():
        ids = [int(one) for one in experiments[0]["unionize"]]
        for average in (False, True):
            table = mouse.get_unionization_from_gene(
                acronym=experiments[0]["gene"], slicing_direction=plane, structures=ids, attributes="all",
                average=average,
            )  # fmt: skip
            assert not table.index.duplicated().any(), f"{plane}: structures more than once"
            assert set(mouse.available_unionization_info()) == set(table.columns), "attributes"
            _compare(table.reset_index().to_dict("records"), experiments, average=average)


def _compare(records: list[dict[str, Any]], experiments: list[dict[str, Any]], *, average: bool) -> None:
    tables = {one["id"]: one["unionize"] for one in experiments}
    seen = {record["structure_id"] for record in records}
    same(seen, {int(one) for table in tables.values() for one in table} & seen, "structures")
    assert len(seen) == len(next(iter(tables.values()))), f"{len(seen)} structures"
    for record in records:
        for name in ("expression_energy", "expression_density", "sum_pixels", "voxel_energy_mean"):
            of = tables.values() if average else [tables[record["experiment_id"]]]
            expected = [row[name] for t in of if (row := t.get(str(record["structure_id"])))]
            values = [value for value in expected if value is not None]
            if values:
                near(record[name], np.mean(values), 1e-9 * max(abs(np.mean(values)), 1), name)


def known_structures(case: Case) -> None:
    """Without a list of structures, abagen asks for those of its own list of the mouse."""
    experiment = case.experiment("prox1")
    table = mouse.get_unionization_from_gene(acronym=experiment["gene"], attributes="expression_energy")
    wanted = {str(one) for one in mouse.fetch_rubinov2015_structures(entry_type="id")}
    found = table.reset_index().to_dict("records")
    same({str(row["structure_id"]) for row in found}, wanted & set(experiment["unionize"]), "structures")
    for row in found:
        expected = experiment["unionize"][str(row["structure_id"])]["expression_energy"]
        near(row["expression_energy"], expected, 1e-9 * max(expected, 1), "energy")


def unionization_by_acronym(case: Case) -> None:
    """Structures may be named by acronym; abagen looks up their ids."""
    named = case.facts["structures"][4]
    # abagen takes the columns of its own cached table in another order than those of an answer.
    shutil.rmtree(Path.home() / "abagen-data", ignore_errors=True)
    (plane, experiments), *_ = _rows(case).items()
    by_acronym, by_id = (
        mouse.get_unionization_from_gene(
            acronym=experiments[0]["gene"], slicing_direction=plane, structures=[key]
        )
        for key in (named["acronym"], named["id"])
    )
    assert by_acronym.equals(by_id), "other numbers"


def mistakes(case: Case) -> None:
    """A gene that nobody stained is a ValueError in the client."""
    for ask in (
        lambda: mouse.get_gene_info(acronym="NoGene"),
        lambda: mouse.get_unionization_from_gene(acronym="NoGene", structures=[1]),
    ):
        try:
            ask()
        except ValueError:
            continue
        raise AssertionError("no ValueError")


warnings.simplefilter("ignore")
CHECKS = (genes, gene_info, structures, structure_info, structure_coordinates, unionization)

if __name__ == "__main__":
    run(
        {"phantom": (*CHECKS, unionization_by_acronym, mistakes), "atlas": (*CHECKS, known_structures)},
        before=redirect,
    )
