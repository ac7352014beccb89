"""The folder of a built reference, which appears whole or not at all.

Files are written into a fresh folder beside the place, which is then renamed. A fresh folder whose writer was
killed is removed by the next one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.atlas_building.forms import FORMATS, write_forms
from pipeline.atlas_building.meshes import FOLDER as MESHES
from pipeline.atlas_building.meshes import write_meshes
from pipeline.atlas_building.page import write_page
from pipeline.atlas_building.result import BuiltReference
from pipeline.core.errors import ConfigError
from pipeline.core.model import CORONAL_SPACE
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.metaimage import write_labels
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.formats.volumes.reference_folder import DESCRIPTION, GRID_ANNOTATION, ONTOLOGY, present_labels
from pipeline.inputs.fetch.references import sha256_of
from pipeline.store.publishing import LIST, listed
from pipeline.store.run import is_run
from pipeline.system.files import real_path
from pipeline.system.locks import hold, is_held
from pipeline.system.seals import first_damaged, seal
from pipeline.system.whole_files import UNFINISHED, put_aside, remove, replacing

PAGE = "report.html"
MOST_NAMED = 20  # labels without a structure


@dataclass(frozen=True)
class Publication:
    """How the folder of a built reference is written.

    Attributes
    ----------
    force : bool
        Write where the folder holds something else, which is put aside under another name.
    formats : tuple of str
        Further forms: brainglobe, nifti.
    command : str
        What made the reference, for reference.json.
    """

    force: bool = False
    formats: tuple[str, ...] = ()
    command: str = ""

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise ConfigError(f"--format {name}: expected one of {', '.join(FORMATS)}")


PLAIN = Publication()


def check_output(output: Path, inputs: Iterable[Path], publication: Publication) -> None:
    """Refuse an output folder before anything is computed, and remove what killed writers left beside it.

    Parameters
    ----------
    output : Path
        Folder of the result.
    inputs : iterable of Path
        Files and folders that are read.
    publication : Publication
        Says whether foreign files may be put aside.

    Raises
    ------
    ConfigError
        Where the folder is a file or lies where none can be made, is a run, holds an input or the working
        directory, or holds something else than an unchanged result of this program and is not forced.
    """
    place = real_path(output)
    if place.exists() and not place.is_dir():
        raise ConfigError(f"--output {output}: expected a folder or nothing, got a file; name another")
    above = next(parent for parent in place.parents if parent.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        what = "a folder that cannot be written," if above.is_dir() else "the file"
        raise ConfigError(
            f"--output {output}: expected a place in a folder, got {what} {above}; name another"
        )
    for path in inputs:
        if real_path(path).is_relative_to(place):
            raise ConfigError(f"--output {output}: holds {path}, which is read; name another folder")
    if place.is_dir() and Path.cwd().is_relative_to(place) and any(place.iterdir()):
        raise ConfigError(f"--output {output}: is where the command was called; name another folder")
    if is_run(place):
        raise ConfigError(f"--output {output}: is a run, whose files are its own; name another folder")
    found = foreign(place)
    if found and not publication.force:
        raise ConfigError(
            f"--output {output}: expected an empty folder or an earlier result, got one with {found}; name"
            " another, or add --force, which puts the folder aside"
        )
    sweep_killed(place)


def foreign(place: Path) -> str:
    """Return the first file of a folder that this program did not write, or that was changed since.

    Parameters
    ----------
    place : Path
        Folder of a result, or any other.

    Returns
    -------
    str
        Its path in the folder; empty where there is none.
    """
    if not place.is_dir():
        return ""
    known = listed(place)
    for root, folders, names in os.walk(place):
        links = [name for name in folders if Path(root, name).is_symlink()]
        for name in sorted((*names, *links)):
            within = Path(root, name).relative_to(place).as_posix()
            if within != LIST and (within not in known or first_damaged(place, {within: known[within]})):
                return within
    return ""


def publish(result: BuiltReference, output: Path, publication: Publication) -> Path:
    """Write the folder of a built reference.

    Parameters
    ----------
    result : BuiltReference
        What the verb made.
    output : Path
        Folder of the result, which `check_output` accepted.
    publication : Publication
        How it is written.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        Where the folder cannot be written, or a form does not hold the structure ids.
    """
    place = real_path(output)
    with replacing(place, is_ours=lambda path: True) as fresh:
        fresh.mkdir()
        with hold([fresh]):
            _write(result, fresh, publication)
            sealed = seal(fresh, [path for path in fresh.iterdir() if not path.name.startswith(".")])
            (fresh / LIST).write_text(json.dumps(sealed, indent=1), encoding="utf-8")
        found = foreign(place)
        if found and not publication.force:  # it came while the result was computed
            raise ConfigError(f"--output {output}: holds {found} now; name another folder, or add --force")
        if found:
            put_aside(place, f"{place.name}.before-")
    return output


def _write(result: BuiltReference, fresh: Path, publication: Publication) -> None:
    um = f"{result.spacing_um:g}"
    for name, volume in result.all_volumes().items():
        write_nrrd(fresh / f"{name}_{um}.nrrd", volume, result.spacing_um)
    for name, field in result.displacements.items():
        write_nrrd(fresh / f"{name}.nrrd", field.vectors, field.spacing_um)
    for name, document in result.documents.items():
        (fresh / name).write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
    for name, text in result.tables.items():
        (fresh / name).write_text(text, encoding="utf-8")
    space = _space(result)
    if result.ontology is not None:
        (fresh / ONTOLOGY).write_bytes(result.ontology.document)
    if space is not None:
        write_labels(fresh / GRID_ANNOTATION, space.grid_labels(), space.grid.spacing_um)
    if result.write_more is not None:
        result.write_more(fresh)
    if space is not None and not (fresh / MESHES).is_dir():
        write_meshes(fresh / MESHES, space.annotation, result.spacing_um, space.ontology)
    write_forms(result, fresh, publication.formats)
    described = describe(result, publication.command)
    (fresh / DESCRIPTION).write_text(json.dumps(described, indent=1, allow_nan=False), encoding="utf-8")
    write_page(fresh / PAGE, result, described)


def _space(result: BuiltReference) -> ReferenceSpace | None:
    if result.annotation is None or result.ontology is None:
        return None
    return ReferenceSpace(
        CORONAL_SPACE, result.verb, result.annotation, result.spacing_um, result.ontology.ontology
    )


def describe(result: BuiltReference, command: str) -> dict[str, Any]:
    """Return reference.json.

    Parameters
    ----------
    result : BuiltReference
        What the verb made.
    command : str
        What made it.

    Returns
    -------
    dict of str to value
        Without NaN, which JSON does not know: null instead.
    """
    return {
        "verb": result.verb,
        "spacing_um": result.spacing_um,
        "shape": list(result.shape),
        "midline_um": result.midline_um,
        "frame": {"kind": result.frame.kind, "of": result.frame.of},
        "inputs": [{"path": str(path), "sha256": sha256_of(path)} for path in result.inputs],
        "version": version("ish-pipeline"),
        "command": command,
        "quality": plain(result.quality),
        "cannot_know": [*result.cannot_know, *_unnamed(result)],
    }


def _unnamed(result: BuiltReference) -> list[str]:
    """Return a sentence on the labels that the ontology lacks; none where it has all."""
    if result.annotation is None or result.ontology is None:
        return []
    unnamed = set(present_labels(result.annotation).tolist()) - {0} - result.ontology.ontology.by_id.keys()
    if not unnamed:
        return []
    names = ", ".join(map(str, sorted(unnamed)[:MOST_NAMED])) + (", …" if len(unnamed) > MOST_NAMED else "")
    return [f"{len(unnamed)} labels are no structures of the ontology, and count for none: {names}."]


def plain(value: Any) -> Any:
    """Return a value as JSON has it: numpy's numbers and arrays as plain ones, NaN and infinity as null.

    Parameters
    ----------
    value : any
        Number, text, None, mapping, sequence or array.

    Returns
    -------
    value
        Of plain types.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def sweep_killed(place: Path) -> None:
    """Remove the fresh folders of killed writers of one place; a living writer holds its own.

    Parameters
    ----------
    place : Path
        What they were to become.
    """
    if not place.parent.is_dir():
        return
    length = len(UNFINISHED) + 9  # eight digits and a hyphen
    for path in place.parent.glob(f"{UNFINISHED}*"):
        if path.name[length:] == place.name and path.is_dir() and not is_held(path):
            remove(path)
