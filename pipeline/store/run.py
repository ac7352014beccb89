"""The folder of one run: where each output lies and how it is written and read back."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError, MissingResultError, PipelineError
from pipeline.core.model import SUM_FIELDS, Bool, Deformation, ExpressionSums, Float32, UInt8
from pipeline.quantification.cells import SectionCells
from pipeline.store.arrays import is_zarr_part
from pipeline.store.bundle import (
    ensure_group,
    read_attributes,
    read_bundle,
    read_fields,
    write_bundle,
    write_fields,
)
from pipeline.store.masks import Part, read_level, write_image
from pipeline.store.tasks import SECTION_STAGES, Receipt
from pipeline.system.files import read_json_value
from pipeline.system.seals import DIGITS, first_damaged
from pipeline.system.whole_files import remove_ours, replacing, sync

RATIOS = ("density", "intensity", "energy")
NO_DATA = np.float32(-1)
DEFORMATION = "deformation.zarr"
PLAN = "plan.json"
RECEIPTS = "receipts"
SEAL = "seal"
_PARTS = {"alignment.json", "refused.json", "digest.json"}  # of what is kept for series of one specimen
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
    "structure_unionize.csv": "unionize",
    "structure_unionize.parquet": "unionize",
    "section_data_set.json": "summarise",
    "provenance.json": "summarise",
    "report.html": "report",
}


@dataclass(frozen=True)
class RunFolder:
    """OUTPUT/<section_data_set_id>: every path and every output of one run."""

    path: Path

    def file(self, name: str) -> Path:
        """Return the path of a plain output such as `alignment.json`."""
        return self.path / name

    def require(self, name: str) -> Path:
        """Return the path of an output that is, byte for byte, what the run wrote.

        Raises
        ------
        MissingResultError
            no such output.
        DataError
            a file of it that is torn, missing or changed since.
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
        damaged = first_damaged(self.path, receipt.outputs, name) if receipt else ""
        if damaged:
            stage = WRITERS[name.split("/")[0]]
            raise DataError(
                f"{self.path / damaged}: is not as the run wrote it (torn, lost or changed by hand); the same"
                f" `ish run` again makes it anew, from stage {stage} on"
            )
        return found

    def _receipt_of(self, name: str) -> Receipt | None:
        """Return the receipt of the task that writes an output.

        None where there is none, as for an alignment that lies in a folder by itself.
        """
        top, _, rest = name.partition("/")
        stage = WRITERS.get(top)
        number = rest.partition("/")[0]
        if stage in SECTION_STAGES:
            stage = f"{stage}-{int(number):05d}" if number.isdecimal() else None
        return self.read_receipt(stage) if stage else None

    def read_document(self, name: str) -> dict[str, Any]:
        """Read an output that is a JSON object; the errors are those of `require`."""
        return read_json(self.require(name))

    def write_expression(
        self, section_number: int, expression: UInt8, resolution_um: float, digest: str
    ) -> None:
        """Write a section's mask with intensity as OME-Zarr, (H, W) uint8."""
        ensure_group(self.path / "expression.zarr")
        with replacing(self.path / "expression.zarr" / str(section_number), is_zarr_part) as fresh:
            write_image(fresh, expression, resolution_um, {"ish_pipeline": {"digest": digest}})

    def read_expression(
        self, section_number: int, level: int = 0, part: Part = (slice(None), slice(None))
    ) -> UInt8:
        """Read one level of a section's mask, or a part of it, (H, W) uint8."""
        return read_level(self._whole(f"expression.zarr/{section_number}"), level, part)

    def write_thumbnail(
        self, section_number: int, pixels: UInt8, valid: Bool, attributes: Mapping[str, Any]
    ) -> None:
        """Write a section's reduced image and which of its pixels count."""
        ensure_group(self.path / "thumbnails.zarr")
        arrays = {"pixels": pixels, "valid": valid.astype(np.uint8)}
        write_bundle(self.path / "thumbnails.zarr" / str(section_number), arrays, attributes)

    def read_thumbnail(self, section_number: int) -> tuple[UInt8, Bool, dict[str, Any]]:
        """Read a section's reduced image, its valid pixels and attributes."""
        arrays, attributes = read_bundle(self._whole(f"thumbnails.zarr/{section_number}"))
        return arrays["pixels"], arrays["valid"].astype(bool), attributes

    def read_outlines(self, section_number: int) -> dict[str, Any]:
        """Read the outlines that lie with a section's reduced image, without the image."""
        return dict(read_attributes(self._whole(f"thumbnails.zarr/{section_number}"))["outlines"])

    def write_cells(self, section_number: int, cells: SectionCells, digest: str) -> None:
        """Write a section's sums over fine cells."""
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
        """Read a section's sums over fine cells."""
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
        """Write `grid.zarr`: sums and ratios as float32, -1 where there is no data; return its arrays."""
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

    def _whole(self, name: str) -> Path:
        """Return the folder of an output, whole where it is there at all: its reader says what lacks."""
        return self.require(name) if (self.path / name).exists() else self.path / name

    def read_grid(self) -> dict[str, Float32]:
        """Read the arrays of `grid.zarr` by name, (P, I, R) float32, -1 where there is no data."""
        return read_bundle(self._whole("grid.zarr"))[0]

    def write_deformations(self, deformations: Mapping[int, Deformation], digest: str) -> None:
        """Write `deformation.zarr`: a (3, rows, columns) float32 array a section, um; see `Deformation`."""
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
        """Keep an `alignment.json` that was changed by hand; return its new name, empty where there is none.

        What is still an alignment in JSON, and not what the run wrote, is a person's work; torn ones are not.
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
        taken = len(list(self.path.glob("alignment.edited-*.json")))
        kept = path.with_name(f"alignment.edited-{taken + 1}.json")
        os.replace(path, kept)
        return kept.name

    def remove_deformations(self) -> None:
        """Remove what an earlier, deformable alignment left."""
        remove_ours(self.path / DEFORMATION, is_zarr_part)

    def read_deformations(self) -> dict[int, Deformation]:
        """Read the deformation of every section that has one, by section number."""
        found = {}
        for name, (array, attributes) in read_fields(self.require(DEFORMATION)).items():
            x, y = (float(v) for v in attributes["origin_px"])
            found[int(name)] = Deformation(array, float(attributes["spacing_px"][0]), (x, y))
        return found

    def write_volume(self, arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Write `volume.zarr`: the specimen as reconstructed from its sections."""
        write_bundle(self.path / "volume.zarr", arrays, attributes)

    def mend_groups(self) -> None:
        """Write the documents of the groups that sections lie in anew, where they are torn or lost."""
        for folder in self.path.glob("*.zarr"):
            if folder.name in ("thumbnails.zarr", "expression.zarr", "cells.zarr"):
                ensure_group(folder)

    def write_plan(self, section_numbers: Sequence[int]) -> None:
        """Write which sections a run takes, before its first task."""
        (self.path / RECEIPTS).mkdir(parents=True, exist_ok=True)
        write_json(self.path / PLAN, {"section_numbers": list(section_numbers)})

    def read_plan(self) -> list[int] | None:
        """Return the section numbers that the last run took; None where it did not say."""
        try:
            return [int(n) for n in read_json(self.path / PLAN)["section_numbers"]]
        except (PipelineError, KeyError, TypeError, ValueError):
            return None

    def write_receipt(self, receipt: Receipt) -> None:
        """Write what a task says of itself, last of all its outputs."""
        document = {name: value for name, value in asdict(receipt).items() if name != "stands"}
        with replacing(self.path / RECEIPTS / f"{receipt.task}.json") as fresh:
            fresh.write_text(json.dumps({**document, SEAL: _seal_of(document)}), encoding="utf-8")
            sync(fresh)

    def read_receipt(self, task: str) -> Receipt | None:
        """Return a task's receipt, None where it has none, or one that is not what the task wrote."""
        try:
            document = read_json(self.path / RECEIPTS / f"{task}.json")
            sealed = document.pop(SEAL, None)
            if sealed != _seal_of(document) and (sealed or "outputs" in document):
                return None  # those of versions before 0.2 have neither
            return Receipt(**document)
        except (PipelineError, KeyError, TypeError):
            return None

    def receipts(self) -> dict[str, Receipt]:
        """Return every receipt of the run by task."""
        names = sorted(path.stem for path in (self.path / RECEIPTS).glob("[!.]*.json"))
        found = {name: self.read_receipt(name) for name in names}
        return {name: receipt for name, receipt in found.items() if receipt is not None}


def grid_arrays(sums: ExpressionSums, covered: Bool) -> dict[str, Float32]:
    """Return the contract's seven grids: float32, -1 where there is no data."""
    values: dict[str, npt.NDArray[Any]] = {name: getattr(sums, name) for name in RATIOS}
    values.update(sums.arrays())
    return {
        name: np.where(covered & np.isfinite(array), array, NO_DATA).astype(np.float32)
        for name, array in values.items()
    }


def is_run(folder: Path) -> bool:
    """Tell whether a folder carries the mark of a run: its plan or receipts, whole or torn, and no others."""
    receipts = folder / RECEIPTS
    try:
        names = [name for name in os.listdir(receipts) if not name.startswith(".")]
    except OSError:
        return False
    return all(_TASK.fullmatch(name) for name in names) and (bool(names) or (folder / PLAN).is_file())


def is_output_part(path: Path) -> bool:
    """Tell whether a path within an output that is a folder names one of the files that lie in such."""
    return is_zarr_part(path) or path.name in _PARTS


def check_free(folder: Path) -> None:
    """Raise DataError where a run would write into what is neither a run nor empty."""
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
    """Read a JSON object; DataError where it is none."""
    document = read_json_value(path, "an object", finite=False)
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(document).__name__}")
    return document


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
