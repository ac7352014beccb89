"""A finished run as an RO-Crate: its results with a description that archives and machines read.

The description follows RO-Crate 1.1 and the profile Process Run Crate 0.5 (https://w3id.org/ro/crate/1.1,
https://w3id.org/ro/wfrun/process/0.5): what was computed, from what, by which software, with checksums.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.store.run import RunFolder
from pipeline.system.whole_files import replacing

NAME = "ro-crate-metadata.json"
CRATE = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
# Kind and text of each result that goes into a crate; those that a run lacks are left out.
RESULTS: dict[str, tuple[str, str]] = {
    "report.html": ("text/html", "page of the run: sections, quality, numbers"),
    "structure_unionize.csv": ("text/csv", "expression per structure and hemisphere"),
    "structure_unionize.parquet": (
        "application/vnd.apache.parquet",
        "expression per structure and hemisphere",
    ),
    "grid.zarr": ("application/zarr", "200 um grid: density, intensity, energy and sums, axes P, I, R"),
    "expression.zarr": ("application/zarr", "expression masks, OME-Zarr 0.5, one group a section"),
    "alignment.json": ("application/json", "placement of every section in the reference space"),
    "deformation.zarr": ("application/zarr", "displacement fields of the sections"),
    "missing_tissue.json": ("application/json", "tissue that sections were found to lack"),
    "section_data_set.json": ("application/json", "the series as processed"),
    "provenance.json": ("application/json", "versions, configuration, checksums and costs of the run"),
}
NEEDED = ("section_data_set.json", "provenance.json", "structure_unionize.csv")
NO_LICENCE = "Not stated: whoever publishes this crate says under which terms."


def write_ro_crate(run: RunFolder, folder: Path) -> list[Path]:
    """Copy the results of a run into a folder, and describe them.

    Parameters
    ----------
    run : RunFolder
        A finished run; each result is held against its digest.
    folder : Path
        Root of the crate.

    Returns
    -------
    list of Path
        The description, `ro-crate-metadata.json`.

    Raises
    ------
    MissingResultError
        Where the run is not finished.
    DataError
        Where a result is not what the run wrote.
    """
    for name in NEEDED:
        run.require(name)
    folder.mkdir(parents=True, exist_ok=True)
    found = [name for name in RESULTS if run.file(name).exists()]
    for name in found:
        _copy(run, name, folder)
    data_set, made = run.read_document("section_data_set.json"), run.read_document("provenance.json")
    document = {
        "@context": [f"{CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"],
        "@graph": list(_graph(folder, found, data_set, made)),
    }
    path = folder / NAME
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [path]


def _copy(run: RunFolder, name: str, folder: Path) -> None:
    """Copy one result after checking that it is what the run wrote."""
    source = run.file(name)
    if name == "expression.zarr" or name == "deformation.zarr":  # a task wrote each section of these
        for section in sorted(path for path in source.iterdir() if path.name.isdecimal()):
            shutil.copytree(run.require(f"{name}/{section.name}"), folder / name / section.name)
    elif source.is_dir():
        shutil.copytree(run.require(name), folder / name)
    else:
        shutil.copyfile(run.require(name), folder / name)


def _graph(
    folder: Path, found: list[str], data_set: Mapping[str, Any], made: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the entities of a crate."""
    parts = [_part(folder, name) for name in found]
    inputs = list(_inputs(made))
    yield {"@id": NAME, "@type": "CreativeWork", "conformsTo": {"@id": CRATE}, "about": {"@id": "./"}}
    yield _root(data_set, made, _ids(parts))
    yield {"@id": "#licence", "@type": "CreativeWork", "name": "Licence", "description": NO_LICENCE}
    yield {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    software = _software(made)
    yield {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"ish run of series {data_set['id']}",
        "description": "Sections through detection, alignment, grid and structures.",
        "endTime": made["written"],
        "instrument": {"@id": software["@id"]},
        "object": _ids(inputs),
        "result": _ids(parts),
        "actionStatus": "http://schema.org/CompletedActionStatus",  # text, as the profile has it
    }
    yield software
    yield from inputs
    yield from parts


def _ids(entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return references to entities."""
    return [{"@id": one["@id"]} for one in entities]


def _root(
    data_set: Mapping[str, Any], made: Mapping[str, Any], parts: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the entity of the whole crate."""
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": _title(data_set),
        "description": "Expression masks, alignment to a reference space, 200 um grid and structure table.",
        "datePublished": made["written"],
        "license": {"@id": "#licence"},
        "conformsTo": {"@id": PROFILE},
        "hasPart": parts,
        "mentions": {"@id": "#run"},
        "identifier": str(data_set["id"]),
    }


def _software(made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entity of this program, with the libraries that it ran on."""
    return {
        "@id": f"#ish-pipeline-{made['pipeline']}",
        "@type": "SoftwareApplication",
        "name": "ish-pipeline",
        "version": made["pipeline"],
        "softwareRequirements": [
            f"Python {made['python']}",
            *(f"{name} {version}" for name, version in made["packages"].items()),
        ],
    }


def _title(data_set: Mapping[str, Any]) -> str:
    """Return what the crate is called: its gene, plane and id."""
    gene = data_set.get("gene")
    of = f" of {gene}" if gene else ""
    return f"Expression{of} in {data_set['plane_of_section']} sections, series {data_set['id']}"


def _inputs(made: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the run read: names and checksums, without the folders of the machine."""
    files = {**made.get("manifests", {}), **made.get("inputs", {})}
    for number, (path, digest) in enumerate(files.items(), start=1):
        yield {
            "@id": f"#input-{number}",
            "@type": "CreativeWork",
            "name": Path(path).name,
            "sha256": digest,
        }
    reference = made.get("reference") or {}
    yield {
        "@id": "#reference",
        "@type": "CreativeWork",
        "name": f"Reference space {reference.get('name')}",
        **{key: reference[name] for key, name in _TERMS.items() if reference.get(name)},
    }


_TERMS = {"creditText": "citation", "usageInfo": "terms"}  # names of schema.org, and ours


def _part(folder: Path, name: str) -> dict[str, Any]:
    """Return the entity of a result; a file comes with its size and checksum."""
    kind, text = RESULTS[name]
    path = folder / name
    if path.is_dir():
        return {
            "@id": f"{name}/",
            "@type": "Dataset",
            "name": name,
            "description": text,
            "encodingFormat": kind,
        }
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "description": text,
        "encodingFormat": kind,
        "contentSize": str(path.stat().st_size),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
