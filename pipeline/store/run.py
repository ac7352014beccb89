"""The folder of one run: location of each output, and how it is written and read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError, MissingResultError, OlderRunWarning, PipelineError
from pipeline.core.model import SUM_FIELDS, Bool, Deformation, ExpressionSums, Float32, UInt8
from pipeline.quantification.cells import SectionCells
from pipeline.store.arrays import (
    ensure_group,
    is_zarr_part,
    read_attributes,
    read_bundle,
    read_fields,
    write_bundle,
    write_fields,
)
from pipeline.store.masks import Part, read_level, write_image
from pipeline.store.tasks import NOT_STORED, SECTION_STAGES, Receipt
from pipeline.system.files import read_json_value
from pipeline.system.seals import DIGITS, Seals, first_damaged
from pipeline.system.whole_files import put_aside, remove_ours, replacing, sync

RATIOS = ("density", "intensity", "energy")
NO_DATA = np.float32(-1)  # of a voxel, as in the grids of Allen
DEFORMATION = "deformation.zarr"
MISSING_TISSUE = "missing_tissue.json"
MISSING_CELLS = "missing_tissue.zarr"
PLAN = "plan.json"
RECEIPTS = "receipts"
SEAL = "seal"  # key of the digest of a receipt
OLDER = "made by version 0.1, without checksums: read as it is; `ish run` again recomputes what changed"
_PARTS = {"alignment.json", "refused.json", "digest.json"}  # files of alignments that a specimen shares
_TASK = re.compile(r"[a-z]+(?:-\d+)?\.json")
WRITERS = {  # the stage that writes an output, by the first part of its path
    "thumbnails.zarr": "measure",
    "expression.zarr": "detect",
    "cells.zarr": "detect",
    "alignment.json": "align",
    DEFORMATION: "align",
    "volume.zarr": "align",
    "siblings": "align",
    "grid.zarr": "grid",
    "grid": "grid",
    MISSING_TISSUE: "grid",
    MISSING_CELLS: "grid",
    "structure_unionize.csv": "unionize",
    "structure_unionize.parquet": "unionize",
    "section_data_set.json": "summarise",
    "provenance.json": "summarise",
    "report.html": "report",
}


@dataclass(frozen=True)
class RunFolder:
    """Folder of one run, OUTPUT/<section_data_set_id>, with the paths of all its outputs.

    Attributes
    ----------
    path : Path
        The folder.
    """

    path: Path

    def file(self, name: str) -> Path:
        """Return the path of a plain output such as `alignment.json`.

        Parameters
        ----------
        name : str
            Path inside the run folder.

        Returns
        -------
        Path
            The path, whether it exists or not.
        """
        return self.path / name

    def require(self, name: str, only: str = "") -> Path:
        """Return the path of an output after checking that it is, byte for byte, what the run wrote.

        Parameters
        ----------
        name : str
            Path inside the run folder.
        only : str
            Check only files of this name, such as zarr.json; empty: all files of the output.

        Returns
        -------
        Path
            The path.

        Raises
        ------
        MissingResultError
            Where there is no such output, or the last run did not make it.
        DataError
            Where a file of it is torn, missing or changed since.
        """
        found = self.path / name
        if not found.exists():
            raise MissingResultError(
                f"{found}: no such output; is {self.path} a finished run? see `ish status`"
            )
        receipt = self._receipt_of(name)
        if receipt is not None and not receipt.ok:
            raise MissingResultError(
                f"{found}: the last run did not make it: {receipt.task} {receipt.state}, {receipt.message}"
            )
        if receipt is not None and receipt.unsealed:
            warnings.warn(f"{self.path}: {OLDER}", OlderRunWarning, stacklevel=1)  # one place: told once
        damaged = first_damaged(self.path, _seals_of(receipt, name, only)) if receipt else ""
        if damaged:
            stage = WRITERS[name.split("/")[0]]
            raise DataError(
                f"{self.path / damaged}: is not as the run wrote it (torn, lost or changed by hand); the same"
                f" `ish run` again makes it anew, from stage {stage} on"
            )
        return found

    def seals(self, name: str) -> Seals:
        """Return size and digest of the files of an output, as the task that wrote them left them.

        Parameters
        ----------
        name : str
            Path inside the run folder: a file, or a folder with its files.

        Returns
        -------
        mapping of [int, str]
            Seals by path inside the run folder; empty where there is no receipt.
        """
        receipt = self._receipt_of(name)
        return _seals_of(receipt, name) if receipt else {}

    def _receipt_of(self, name: str) -> Receipt | None:
        """Return the receipt of the task that writes an output.

        None where there is no receipt, as for an alignment.json in a folder that is not a run.
        """
        top, _, rest = name.partition("/")
        stage = WRITERS.get(top)
        number = rest.partition("/")[0]
        if stage in SECTION_STAGES:
            stage = f"{stage}-{int(number):05d}" if number.isdecimal() else None
        return self.read_receipt(stage) if stage else None

    def read_document(self, name: str) -> dict[str, Any]:
        """Read an output that is a JSON object.

        Parameters
        ----------
        name : str
            Path inside the run folder.

        Returns
        -------
        dict of str to Any
            Content.

        Raises
        ------
        MissingResultError
            Where there is no such output.
        DataError
            Where it is damaged or not a JSON object.
        """
        return read_json(self.require(name))

    def write_expression(
        self, section_number: int, expression: UInt8, resolution_um: float, digest: str
    ) -> None:
        """Write the expression mask of a section as OME-Zarr.

        Parameters
        ----------
        section_number : int
            Section.
        expression : (H, W) uint8
            Darkness 1-255 where a pixel expresses, else 0.
        resolution_um : float
            Size of a stored pixel, um.
        digest : str
            Digest of the task.
        """
        ensure_group(self.path / "expression.zarr")
        with replacing(self.path / "expression.zarr" / str(section_number), is_zarr_part) as fresh:
            write_image(fresh, expression, resolution_um, {"ish_pipeline": {"digest": digest}})

    def read_expression(
        self, section_number: int, level: int = 0, part: Part = (slice(None), slice(None))
    ) -> UInt8:
        """Read one level of the expression mask of a section, or a part of it.

        Parameters
        ----------
        section_number : int
            Section.
        level : int
            Level of the pyramid; 0 is the finest.
        part : (slice, slice)
            Rows and columns, px of this level.

        Returns
        -------
        (h, w) uint8
            Darkness 1-255 where a pixel expresses, else 0.

        Raises
        ------
        MissingResultError
            Where there is no such mask or level.
        DataError
            Where it is damaged.
        """
        return read_level(self._whole(f"expression.zarr/{section_number}"), level, part)

    def write_thumbnail(
        self,
        section_number: int,
        pixels: UInt8,
        valid: Bool,
        attributes: Mapping[str, Any],
        padding: Bool | None = None,
    ) -> None:
        """Write the reduced image of a section.

        Parameters
        ----------
        section_number : int
            Section.
        pixels : (h, w) or (h, w, 3) uint8
            Reduced image.
        valid : (h, w) bool
            Pixels that count.
        attributes : mapping of str to Any
            Reduction, factor of the manifest's frame, outlines and digest; `padding_step`, stored pixels per
            pixel of the padding.
        padding : (m, n) bool, optional
            Padding inside the scan's rectangle; None where there is none.
        """
        ensure_group(self.path / "thumbnails.zarr")
        arrays = {"pixels": pixels, "valid": valid.astype(np.uint8)}
        if padding is not None:
            arrays["padding"] = padding.astype(np.uint8)
        write_bundle(self.path / "thumbnails.zarr" / str(section_number), arrays, attributes)

    def read_thumbnail(self, section_number: int) -> tuple[UInt8, Bool, dict[str, Any]]:
        """Read the reduced image of a section.

        Parameters
        ----------
        section_number : int
            Section.

        Returns
        -------
        pixels : (h, w) or (h, w, 3) uint8
            Reduced image.
        valid : (h, w) bool
            Pixels that count.
        attributes : dict of str to Any
            Reduction, factor of the manifest's frame, outlines and digest.

        Raises
        ------
        MissingResultError
            Where there is none.
        DataError
            Where it is damaged.
        """
        arrays, attributes = read_bundle(self._whole(f"thumbnails.zarr/{section_number}"))
        return arrays["pixels"], arrays["valid"].astype(bool), attributes

    def read_padding(self, section_number: int) -> tuple[Bool, int] | None:
        """Read the padding of a section.

        Parameters
        ----------
        section_number : int
            Section.

        Returns
        -------
        ((m, n) bool, int) or None
            Padding, and stored pixels per pixel of it; None where there is none inside the scan's rectangle.

        Raises
        ------
        MissingResultError
            Where there is no reduced image.
        DataError
            Where it is damaged.
        """
        folder = self._whole(f"thumbnails.zarr/{section_number}")
        if "padding_step" not in read_attributes(folder):
            return None
        arrays, attributes = read_bundle(folder)
        return arrays["padding"].astype(bool), int(attributes["padding_step"])

    def read_outlines(self, section_number: int) -> dict[str, Any]:
        """Read the outlines that are stored with the reduced image of a section, without the image.

        Parameters
        ----------
        section_number : int
            Section.

        Returns
        -------
        dict of str to Any
            Outlines of tissue and artifacts, um, as fields of `SectionContext`.

        Raises
        ------
        MissingResultError
            Where there is no reduced image.
        DataError
            Where it is damaged.
        """
        return dict(read_attributes(self._whole(f"thumbnails.zarr/{section_number}"))["outlines"])

    def write_cells(self, section_number: int, cells: SectionCells, digest: str) -> None:
        """Write the sums of a section over fine cells.

        Parameters
        ----------
        section_number : int
            Section.
        cells : SectionCells
            Sums, in stored pixels.
        digest : str
            Digest of the task.
        """
        ensure_group(self.path / "cells.zarr")
        attributes = {
            "pitch_px": cells.pitch_px,
            "factor": cells.factor,
            "resolution_um": cells.resolution_um,
            "rectangle_px": list(cells.rectangle_px),
            "ish_pipeline": {"digest": digest},
        }
        write_bundle(self.path / "cells.zarr" / str(section_number), cells.sums.arrays(), attributes)

    def read_cells(self, section_number: int) -> SectionCells:
        """Read the sums of a section over fine cells.

        Parameters
        ----------
        section_number : int
            Section.

        Returns
        -------
        SectionCells
            Sums, in stored pixels.

        Raises
        ------
        MissingResultError
            Where there are none.
        DataError
            Where they are damaged.
        """
        arrays, attributes = read_bundle(self._whole(f"cells.zarr/{section_number}"))
        x0, y0, x1, y1 = attributes["rectangle_px"]
        return SectionCells(
            ExpressionSums(**{name: arrays[name] for name in SUM_FIELDS}),
            pitch_px=attributes["pitch_px"],
            factor=attributes["factor"],
            resolution_um=attributes["resolution_um"],
            rectangle_px=(x0, y0, x1, y1),
        )

    def write_grid(self, sums: ExpressionSums, covered: Bool, digest: str) -> dict[str, Float32]:
        """Write `grid.zarr`: four sums and three ratios on the 200 um grid.

        Parameters
        ----------
        sums : ExpressionSums of (P, I, R)
            Sums of every voxel.
        covered : (P, I, R) bool
            Where voxels have data.
        digest : str
            Digest of the task.

        Returns
        -------
        dict of str to (P, I, R) float32
            The arrays as written; -1 where there is no data.
        """
        arrays = grid_arrays(sums, covered)
        attributes = {
            "axes": ["P", "I", "R"],
            "spacing_um": 200.0,
            "origin_um": [0.0, 0.0, 0.0],
            "no_data": -1.0,
            "ish_pipeline": {"digest": digest},
        }
        write_bundle(self.path / "grid.zarr", arrays, attributes)
        return arrays

    def _whole(self, name: str, only: str = "") -> Path:
        """Return the path of an output after checking it as `require` does, where it exists.

        Where it does not exist, its reader raises the error.
        """
        return self.require(name, only) if (self.path / name).exists() else self.path / name

    def read_grid(self) -> dict[str, Float32]:
        """Read the arrays of `grid.zarr` by name, (P, I, R) float32.

        Voxels without data are -1. MissingResultError where there is no grid, DataError where it is damaged.
        """
        return read_bundle(self._whole("grid.zarr"))[0]

    def write_deformations(self, deformations: Mapping[int, Deformation], digest: str) -> None:
        """Write `deformation.zarr`: a (3, rows, columns) float32 array in um for each section.

        Parameters
        ----------
        deformations : mapping of int to Deformation
            Displacement field by section number.
        digest : str
            Digest of the task.
        """
        fields = {}
        for number, deformation in deformations.items():
            attributes = {
                "axes": ["component x, y, z of the volume", "y", "x"],
                "unit": "um",
                "spacing_px": [deformation.spacing_px] * 2,
                "origin_px": list(deformation.origin_px),
            }
            fields[str(number)] = (deformation.displacement_um, attributes)
        write_fields(self.path / DEFORMATION, fields, {"ish_pipeline": {"digest": digest}})

    def put_aside_edited(self) -> str:
        """Rename an `alignment.json` that was edited by hand, so that it is not overwritten.

        A file that differs from what the run wrote, but is still JSON with an alignment, counts as edited; a
        torn file does not.

        Returns
        -------
        str
            New name, `alignment.edited-N.json`; empty where nothing was edited.
        """
        path = self.path / "alignment.json"
        receipt = self._receipt_of(path.name)
        if receipt is None or not path.is_file() or not first_damaged(self.path, receipt.outputs, path.name):
            return ""
        try:
            if not read_json(path).get("alignment2d"):
                return ""
        except DataError:
            return ""
        return put_aside(path, "alignment.edited-", ".json")

    def remove_deformations(self) -> None:
        """Remove the displacement fields of an earlier, deformable alignment."""
        remove_ours(self.path / DEFORMATION, is_zarr_part)

    def read_deformations(self) -> dict[int, Deformation]:
        """Read the displacement field of every section that has one, by section number."""
        found = {}
        for name, (array, attributes) in read_fields(self.require(DEFORMATION)).items():
            x, y = (float(v) for v in attributes["origin_px"])
            found[int(name)] = Deformation(array, float(attributes["spacing_px"][0]), (x, y))
        return found

    def write_volume(self, arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Write `volume.zarr`: the specimen reconstructed from its sections.

        Parameters
        ----------
        arrays : mapping of str to array
            Volumes by name.
        attributes : mapping of str to Any
            Axes, origin and spacing (um).
        """
        write_bundle(self.path / "volume.zarr", arrays, attributes)

    def mend_groups(self) -> None:
        """Rewrite the zarr documents of the groups that hold sections, where they are torn or lost."""
        for folder in self.path.glob("*.zarr"):
            if folder.name in ("thumbnails.zarr", "expression.zarr", "cells.zarr"):
                ensure_group(folder)

    def write_plan(self, section_numbers: Sequence[int]) -> None:
        """Write which sections a run takes, before its first task.

        Parameters
        ----------
        section_numbers : sequence of int
            Numbers of all sections of the run.
        """
        (self.path / RECEIPTS).mkdir(parents=True, exist_ok=True)
        write_json(self.path / PLAN, {"section_numbers": list(section_numbers)})

    def read_plan(self) -> list[int] | None:
        """Return the section numbers of the last run; None where they cannot be read."""
        try:
            return [int(n) for n in read_json(self.path / PLAN)["section_numbers"]]
        except (PipelineError, KeyError, TypeError, ValueError):
            return None

    def write_receipt(self, receipt: Receipt) -> None:
        """Write the receipt of a task, after all its outputs.

        Parameters
        ----------
        receipt : Receipt
            Receipt.
        """
        document = {name: value for name, value in asdict(receipt).items() if name not in NOT_STORED}
        with replacing(self.path / RECEIPTS / f"{receipt.task}.json") as fresh:
            fresh.write_text(json.dumps({**document, SEAL: _seal_of(document)}), encoding="utf-8")
            sync(fresh)

    def read_receipt(self, task: str) -> Receipt | None:
        """Read the receipt of a task.

        Parameters
        ----------
        task : str
            Task name.

        Returns
        -------
        Receipt or None
            None where there is no receipt, or its content does not agree with its own digest.
        """
        try:
            document = read_json(self.path / RECEIPTS / f"{task}.json")
            sealed = document.pop(SEAL, None)
            if sealed != _seal_of(document) and (sealed or "outputs" in document):
                return None  # receipts of versions before 0.2 have neither seal nor outputs
            return Receipt(**document, unsealed=sealed is None)
        except (PipelineError, KeyError, TypeError):
            return None

    def receipts(self) -> dict[str, Receipt]:
        """Return all receipts of the run by task name."""
        names = sorted(path.stem for path in (self.path / RECEIPTS).glob("[!.]*.json"))
        found = {name: self.read_receipt(name) for name in names}
        return {name: receipt for name, receipt in found.items() if receipt is not None}


def _seals_of(receipt: Receipt, name: str, only: str = "") -> Seals:
    """Return the seals of the files of one output; `only` as `RunFolder.require` takes it."""
    return {
        file: known
        for file, known in receipt.outputs.items()
        if f"{file}/".startswith(f"{name}/") and only in ("", file.rpartition("/")[2])
    }


def grid_arrays(sums: ExpressionSums, covered: Bool) -> dict[str, Float32]:
    """Return the seven grids of a run: density, intensity, energy and the four sums.

    Parameters
    ----------
    sums : ExpressionSums of (P, I, R)
        Sums of every voxel.
    covered : (P, I, R) bool
        Where voxels have data.

    Returns
    -------
    dict of str to (P, I, R) float32
        Grids by name; -1 where there is no data.
    """
    values: dict[str, npt.NDArray[Any]] = {name: getattr(sums, name) for name in RATIOS}
    values.update(sums.arrays())
    return {
        name: np.where(covered & np.isfinite(array), array, NO_DATA).astype(np.float32)
        for name, array in values.items()
    }


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a run, by its folder of receipts.

    Parameters
    ----------
    folder : Path
        Folder to look at.

    Returns
    -------
    bool
        True where its folder of receipts holds nothing else, and there is a receipt, whole or torn, or a
        plan.
    """
    receipts = folder / RECEIPTS
    try:
        names = [name for name in os.listdir(receipts) if not name.startswith(".")]
    except OSError:
        return False
    return all(_TASK.fullmatch(name) for name in names) and (bool(names) or (folder / PLAN).is_file())


def is_output_part(path: Path) -> bool:
    """Tell whether a path is one that outputs of a run can contain.

    Parameters
    ----------
    path : Path
        Path inside an output that is a folder.

    Returns
    -------
    bool
        Whether zarr or the shared alignments of a specimen have files of this name.
    """
    return is_zarr_part(path) or path.name in _PARTS


def check_free(folder: Path) -> None:
    """Check that a run can write into a folder: it does not exist, is empty, or is a run.

    Parameters
    ----------
    folder : Path
        Run folder.

    Raises
    ------
    DataError
        Where something else is in its place.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a place for this run, got a file; choose another --output")
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DataError(
            f"{folder}: expected a place for this run, got {error.strerror}; choose another --output"
        ) from None
    if names and not is_run(folder):
        raise DataError(
            f"{folder}: expected a run or nothing in the place of this series' output, got a folder with"
            f" {names[0]}; nothing was written: choose another --output, or move that folder"
        )


def _seal_of(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()[:DIGITS]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path : Path
        File.

    Returns
    -------
    dict of str to Any
        Content.

    Raises
    ------
    DataError
        Where the file is missing, not JSON, or not an object.
    """
    document = read_json_value(path, "an object", finite=False)
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(document).__name__}")
    return document


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON object, completely or not at all.

    Parameters
    ----------
    path : Path
        File.
    document : mapping of str to Any
        Content.
    """
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
