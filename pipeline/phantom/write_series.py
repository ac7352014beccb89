"""Write a rendered series to disk: `series/` in the form of any given series, `truth/` beside it.

Nothing in `series/` reveals the truth. One section is in memory at a time. A small list in the folder records
what was written, with digests. A new series replaces an earlier one; any other file belongs to the user and
is never replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import BOTH, LEFT, RIGHT, Bool, ExpressionSums, UInt8
from pipeline.formats.alignments.alignment_json import write_alignment
from pipeline.formats.images.files import write_image
from pipeline.formats.manifests.allen_xml import write_data_set_xml
from pipeline.formats.manifests.sections_csv import write_manifest
from pipeline.formats.tables.tables import write_csv
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.phantom import (
    RenderedSection,
    Scene,
    SectionTruth,
    drawn,
    render_section,
    true_alignment,
)
from pipeline.system.files import read_json_value
from pipeline.system.seals import first_damaged, seal
from pipeline.system.whole_files import replacing, writing

WRITTEN = ".ish-phantom.json"  # the list of written files, with digests
Progress = Callable[[int, int], None]
SUFFIX = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif"}


@dataclass(frozen=True)
class SeriesForm:
    """How a series is stored.

    Attributes
    ----------
    image : {"jpeg", "png", "tiff"}
        Format of the images.
    quality : int
        Quality of a JPEG.
    manifest : {"csv", "xml"}
        csv: `sections.csv` and `section_data_set.yaml`; xml: `data_set.xml`, which may store images reduced.
    give_alignment : bool
        Put the given alignment, without extra poses, into the series.
    give_hints : bool
        State the section order and which way is up; csv only.
    truth_masks : bool
        Write the masks of expression, tissue and artifacts of every section.
    """

    image: Literal["jpeg", "png", "tiff"] = "jpeg"
    quality: int = 90
    manifest: Literal["csv", "xml"] = "csv"
    give_alignment: bool = True
    give_hints: bool = True
    truth_masks: bool = True


DEFAULT_FORM = SeriesForm()


def write_phantom_series(
    folder: Path, scene: Scene, form: SeriesForm = DEFAULT_FORM, progress: Progress | None = None
) -> Path:
    """Render a series into `folder`/series and its truth into `folder`/truth.

    The truth has these files:

    - `alignment.json`: the alignment with the extra poses;
    - `section_NNNN.npz`: positions of the pixels, bilinear between `nodes` every `step_px` drawn pixels;
    - masks of every section as PNG, where the form asks for them;
    - `energy`, `density` and `intensity`: the 200 um grids (.mhd);
    - `structure_energy.csv`: by structure (children included) and hemisphere, sums in manifest pixels.

    Parameters
    ----------
    folder : Path
        Where both folders go; an earlier series there is replaced.
    scene : Scene
        The series.
    form : SeriesForm
        How it is stored.
    progress : callable or None
        Called after each section with the sections done and their total.

    Returns
    -------
    Path
        `folder`/series.

    Raises
    ------
    ConfigError
        Where the folder holds anything but an earlier series as it was written.
    """
    shown = replace(scene, geometry=drawn(scene.geometry)) if form.manifest == "csv" else scene
    series, truth = folder / "series", folder / "truth"
    _clear_earlier(folder)
    files, sums = {}, _Totals()
    present = [k for k, image in enumerate(shown.images) if image.section_number not in shown.missing]
    for done, index in enumerate(present, start=1):
        section = render_section(shown, index)
        name = f"section_s{section.section_number:04d}{SUFFIX[form.image]}"
        files[section.section_number] = name
        resolution = shown.geometry.resolution_um(shown.images[index])
        write_image(series / name, section.pixels, quality=form.quality, resolution_um=resolution)
        _write_section_truth(truth, section, masks=form.truth_masks)
        sums.add(section.truth)
        if progress is not None:
            progress(done, len(present))
    _write_series(series, shown, form, files)
    _write_truth(truth, shown, sums)
    with replacing(folder / WRITTEN) as fresh:
        fresh.write_text(json.dumps(seal(folder, [series, truth]), indent=1), encoding="utf-8")
    return series


def check_free(folder: Path) -> None:
    """Check that a folder that phantom series are to be written to holds nothing else.

    Parameters
    ----------
    folder : Path
        The folder; it may be missing.

    Raises
    ------
    ConfigError
        Where it is a file, or a folder that holds, apart from hidden files, anything but earlier phantom
        series as they were written.
    """
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder, got a file; name another")
    lists = [folder / WRITTEN, *sorted(folder.glob(f"*/{WRITTEN}"))]
    ours = {found.parent / name for found in lists for name in _earlier(found.parent)}
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if Path(root, name).is_symlink()]
        for name in sorted((*files, *links)):
            if not name.startswith(".") and Path(root, name) not in ours:
                raise ConfigError(
                    f"{folder}: expected a new or empty folder, or an earlier phantom as it was written, got"
                    f" {Path(root, name).relative_to(folder)}; name another folder"
                )


def _earlier(folder: Path) -> list[str]:
    """Return the files of an earlier series in this folder that are still as they were written."""
    try:
        known = read_json_value(folder / WRITTEN, "the list of a phantom's files")
    except DataError:
        return []
    names = known if isinstance(known, dict) else {}
    return [
        name
        for name, of_file in names.items()
        if name.startswith(("series/", "truth/"))
        and ".." not in Path(name).parts
        and not first_damaged(folder, {name: of_file})
    ]


def _clear_earlier(folder: Path) -> None:
    """Remove an earlier series from this folder; ConfigError where the folder holds anything else."""
    check_free(folder)
    with writing(folder):
        for name in _earlier(folder):
            (folder / name).unlink()
        (folder / WRITTEN).unlink(missing_ok=True)


@dataclass
class _Totals:
    """The sums of all sections so far."""

    structures: ExpressionSums | None = None
    voxels: ExpressionSums | None = None

    def add(self, truth: SectionTruth) -> None:
        """Add the sums of one section."""
        self.structures = truth.structures if self.structures is None else self.structures + truth.structures
        self.voxels = truth.voxels if self.voxels is None else self.voxels + truth.voxels


def _write_section_truth(truth: Path, section: RenderedSection, *, masks: bool) -> None:
    """Write the pixel map of a section and, where asked for, its masks."""
    stem = f"section_{section.section_number:04d}"
    known = section.truth
    with replacing(truth / f"{stem}.npz") as fresh, fresh.open("wb") as file:
        np.savez_compressed(file, step_px=known.pixel_map.step_px, nodes=known.pixel_map.nodes)
    if masks:
        write_image(truth / f"{stem}_expressing.png", _mask(known.expressing))
        write_image(truth / f"{stem}_tissue.png", _mask(known.tissue))
        write_image(truth / f"{stem}_artifacts.png", np.asarray(known.artifacts))


def _mask(mask: Bool) -> UInt8:
    """Return a mask as an image, 0 and 255."""
    return (np.asarray(mask) * np.uint8(255)).astype(np.uint8)


def _write_series(series: Path, scene: Scene, form: SeriesForm, files: dict[int, str]) -> None:
    """Write the manifest and, where asked for, the given alignment."""
    geometry = scene.geometry
    if form.manifest == "xml":
        given = geometry.alignment if form.give_alignment else None
        write_data_set_xml(series / "data_set.xml", geometry.data_set, given)
        return
    data_set = geometry.data_set
    if not form.give_hints:
        data_set = replace(data_set, section_order=None, image_up=None)
    write_manifest(series, data_set, files=files)
    if form.give_alignment:
        write_alignment(series / "alignment.json", geometry.alignment)


def _write_truth(truth: Path, scene: Scene, sums: _Totals) -> None:
    """Write the true alignment, the 200 um grids and the structure table."""
    write_alignment(truth / "alignment.json", true_alignment(scene))
    if sums.structures is None or sums.voxels is None:
        return
    for name in ("energy", "density", "intensity"):
        write_grid(truth / f"{name}.mhd", getattr(sums.voxels, name).astype(np.float32), 200.0)
    write_csv(truth / "structure_energy.csv", _table(scene, sums.structures))


def _table(scene: Scene, sums: ExpressionSums) -> dict[str, npt.NDArray[Any]]:
    """Return sums and ratios of every structure, children included, for left, right and both hemispheres."""
    ontology, pixel = scene.reference.ontology, scene.geometry.factor**2  # manifest pixels per drawn pixel
    ids = np.array([s.id for s in ontology.structures])
    inside = np.array([np.isin(scene.ids, list(ontology.descendants(int(i)))) for i in ids])

    def gathered(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        sides = pixel * (array @ inside.T)
        return np.concatenate([sides, sides.sum(axis=0, keepdims=True)]).T.ravel()

    total = sums.map(gathered)
    seen = total.sum_pixels > 0
    hemispheres = np.tile([LEFT, RIGHT, BOTH], ids.size)
    columns = {"structure_id": np.repeat(ids, 3), "hemisphere_id": hemispheres, **total.arrays()}
    for name in ("density", "intensity", "energy"):
        columns[f"expression_{name}"] = getattr(total, name)
    return {name: column[seen] for name, column in columns.items()}
