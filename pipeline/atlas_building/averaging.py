"""`ish reference average`: the mean shape and the mean stain of several brains."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.displacement import Displacement, grid_points, invert, node_shape, sampled, slabs
from pipeline.atlas_building.making import Plan, make
from pipeline.atlas_building.matching.affine import fit_affine, overlap_after, rotation_deg
from pipeline.atlas_building.matching.checks import (
    check_common_tissue,
    check_contrast,
    check_handedness,
    check_kept_tissue,
    displacement_figures,
    overlap_of_tissue,
)
from pipeline.atlas_building.matching.group import Group, mean_frame, mean_of
from pipeline.atlas_building.matching.sampling import moved
from pipeline.atlas_building.matching.working import WorkingBrain, working_brain, working_um
from pipeline.atlas_building.memory import check_fits
from pipeline.atlas_building.pictures import deviation_pictures
from pipeline.atlas_building.publish import PLAIN, Publication
from pipeline.atlas_building.result import BuiltReference, Frame
from pipeline.atlas_building.sources import (
    Annotation,
    check_same_box,
    check_spacing,
    has_annotation,
    input_files,
    open_annotation,
    open_grey,
    with_ontology,
)
from pipeline.core.errors import DataError
from pipeline.core.model import Bool, Float32, Float64, UInt32
from pipeline.formats.volumes.volume_files import ENDINGS, Volume
from pipeline.system.files import real_path

LARGEST_TURN_DEG = 30.0  # between two brains
SHADE_UM = 1500.0  # standard deviation of the window in which brains are made equally bright
MOST_GAIN = 3.0  # by which a place is made brighter or darker for it
CANNOT_KNOW = ("Whether a brain is a mirror image can be told only from what differs between its halves.",)


def average(
    brains: Sequence[Path],
    output: Path,
    *,
    spacing_um: float | None = None,
    publication: Publication = PLAIN,
) -> Path:
    """Average brains of one contrast: their shapes and their stains.

    Parameters
    ----------
    brains : sequence of Path
        Two or more volume files or reference folders.
    output : Path
        Folder of the result.
    spacing_um : float, um, optional
        Voxel size of the result, and of volumes that state none; default the finest of the brains.
    publication : Publication
        How the folder is written.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        Where the output folder cannot be used.
    DataError
        Where a brain cannot be used, there are fewer than two, two of one name, one is the mirror image of
        another, or two lie more than 30 degrees apart.
    """
    return make(output, brains, publication, lambda: _plan(brains, spacing_um))


def _plan(brains: Sequence[Path], spacing_um: float | None) -> Plan:
    """Return what is averaged."""
    names = names_of(brains)
    volumes: list[Volume] = []
    for path in brains:
        volumes.append(open_grey(path, spacing_um))
        _check_memory(volumes, (), spacing_um)  # before the next one is read
    labels = [_labels(path, volume) for path, volume in zip(brains, volumes, strict=True)]
    annotated = [found for found in labels if found is not None]
    um = spacing_um or min(min(volume.spacing_um) for volume in volumes)
    for path, volume in zip(brains, volumes, strict=True):
        check_spacing(path, volume.box_um, um)
    _check_memory(volumes, annotated, um)
    files = [*(file for path in brains for file in input_files(path))]
    files += [file for found in annotated for file in found.files]
    return Plan(
        lambda: averaged_reference(names, volumes, labels, um),
        files,
        annotated[0].labels if annotated else None,
    )


def _check_memory(
    volumes: Sequence[Volume], annotated: Sequence[Annotation], spacing_um: float | None
) -> None:
    um = spacing_um or min(min(volume.spacing_um) for volume in volumes)
    held = sum(one.values.nbytes for one in volumes) + sum(one.labels.nbytes for one in annotated)
    check_fits("average", volumes[0].path, np.max([one.box_um for one in volumes], axis=0), um, held)


def averaged_reference(
    names: Sequence[str], volumes: Sequence[Volume], labels: Sequence[Annotation | None], spacing_um: float
) -> BuiltReference:
    """Return the reference that brains have in their mean.

    Parameters
    ----------
    names : sequence of str
        Of the brains.
    volumes : sequence of Volume
        Their greys.
    labels : sequence of Annotation or None
        Their annotations, where they have one.
    spacing_um : float, um
        Voxel size of the result.

    Returns
    -------
    BuiltReference
        Mean and variance of the greys, most frequent labels, displacements by brain; without inputs.

    Raises
    ------
    DataError
        Where the brains cannot be averaged, or a displacement folds.
    """
    um = working_um(volumes)
    brains = [working_brain(volume, um) for volume in volumes]
    affines = _affines(volumes, brains)
    group = mean_frame(brains, affines)
    for volume, brain, field in zip(volumes, brains, group.to_brains, strict=True):
        check_kept_tissue(volume.path, Path("the mean"), overlap_of_tissue(group.tissue, brain.mask, field))
    shape = [round(float(side) / spacing_um) for side in np.max([v.box_um for v in volumes], axis=0)]
    grid = (shape, [spacing_um] * 3)
    template, variance = _mean_stain(volumes, brains, group, grid)
    displacements, figures = {}, {}
    middle = WorkingBrain(np.zeros(group.tissue.shape, np.float32), group.tissue, um)
    for name, volume, field in zip(names, volumes, group.to_brains, strict=True):
        back = invert(field, node_shape(volume.box_um, um), um)
        figures[name] = displacement_figures(volume.path, field, back, middle)
        lengths = np.linalg.norm(_in_tissue(field, group.tissue), axis=-1)
        figures[name]["displacement_um_median"] = float(np.median(lengths))
        displacements[f"brains/{name}/target_to_source"] = field
        displacements[f"brains/{name}/source_to_target"] = back
    annotated = [(found, f) for found, f in zip(labels, group.to_brains, strict=True) if found is not None]
    return BuiltReference(
        verb="average",
        frame=Frame("mean", f"{len(names)} brains: {', '.join(names)}"),
        spacing_um=spacing_um,
        inputs=(),
        template=template,
        annotation=_voted(annotated, grid) if annotated else None,
        ontology=annotated[0][0].ontology if annotated else None,
        quality=_quality(group, figures, variance),
        cannot_know=CANNOT_KNOW,
        volumes={"variance": variance},
        displacements=displacements,
        pictures=list(deviation_pictures(variance, spacing_um)),
    )


def names_of(brains: Sequence[Path]) -> list[str]:
    """Return the names of brains: those of their files or folders, without endings.

    Parameters
    ----------
    brains : sequence of Path
        Volume files and reference folders.

    Returns
    -------
    list of str
        In their order.

    Raises
    ------
    DataError
        Where there are fewer than two, or two of one name.
    """
    if len(brains) < 2:
        raise DataError(f"average: expected two brains or more, got {len(brains)}; name more of them")
    names: dict[str, Path] = {}
    for path in brains:
        name = path.name if path.name.strip(".") else real_path(path).name  # of `.` and `..` too
        ending = next((e for e in sorted(ENDINGS, key=len, reverse=True) if name.lower().endswith(e)), "")
        name = name if path.is_dir() else name[: len(name) - len(ending)]
        if name in names:
            raise DataError(
                f"{path}: expected brains of different names, got a second {name}"
                f" beside {names[name]}; rename one"
            )
        names[name] = path
    return list(names)


def _labels(path: Path, volume: Volume) -> Annotation | None:
    if not has_annotation(path):
        return None
    found = with_ontology(open_annotation(path, template=False))
    check_same_box(path, found, volume)
    return found


def _affines(volumes: Sequence[Volume], brains: Sequence[WorkingBrain]) -> list[Float64]:
    """Return the affine maps from the first brain to each; DataError where two cannot be averaged."""
    found = [np.eye(3, 4)]
    for volume, brain in zip(volumes[1:], brains[1:], strict=True):
        affine = fit_affine(brains[0], brain)
        shared = overlap_after(brains[0].mask, brain.mask, affine, brain.spacing_um)
        check_common_tissue(volumes[0].path, volume.path, affine, shared)
        check_handedness((volume.path, volumes[0].path), brains[0], brain, affine)
        check_contrast((volumes[0].path, volume.path), brains[0], brain, affine)
        found.append(affine)
    for (a, one), (b, other) in itertools.combinations(enumerate(found), 2):
        turn = rotation_deg(other[:, :3] @ np.linalg.inv(one[:, :3]))
        if turn > LARGEST_TURN_DEG:
            raise DataError(
                f"{volumes[b].path}: expected a brain that lies within {LARGEST_TURN_DEG:g} degrees of"
                f" {volumes[a].path} and is no mirror image of it, got {turn:.0f} degrees; turn or reverse"
                " its axes"
            )
    return found


def _mean_stain(
    volumes: Sequence[Volume],
    brains: Sequence[WorkingBrain],
    group: Group,
    grid: tuple[Sequence[int], Sequence[float]],
) -> tuple[Float32, Float32]:
    """Return mean and variance of the brains' greys on a grid, evened: in the values of the mean brain."""
    base, gains = evening(brains, group)
    mean, squares = np.zeros(tuple(grid[0]), np.float32), np.zeros(tuple(grid[0]), np.float32)
    for count, (volume, brain, field) in enumerate(
        zip(volumes, brains, group.to_brains, strict=True), start=1
    ):
        around = surroundings(brain)
        gain = gains[count - 1]
        for planes in slabs(grid[0]):
            points = grid_points(grid[0], grid[1], planes)
            value = _beyond(volume, field.apply(points), around)
            value = base + (value - around) * sampled(gain, _within(points / group.spacing_um, gain.shape))
            value = value.reshape(-1, *grid[0][1:])
            apart = value - mean[planes]
            mean[planes] += apart / count
            squares[planes] += apart * (value - mean[planes])
    return mean, squares / np.float32(len(volumes) - 1)


def evening(brains: Sequence[WorkingBrain], group: Group) -> tuple[float, list[Float32]]:
    """Return what makes brains equally bright in the frame of their mean.

    Parameters
    ----------
    brains : sequence of WorkingBrain
        Of one contrast.
    group : Group
        Their mean frame.

    Returns
    -------
    surroundings : float
        Mean value beside the tissue.
    gains : list of (P, I, R) float32
        Slow factor of each brain's difference from its surroundings, on the working grid of the mean.
    """
    um = group.spacing_um
    shape = group.tissue.shape
    seen = []
    for brain, field in zip(brains, group.to_brains, strict=True):
        vectors = field.vectors[: shape[0], : shape[1], : shape[2]] / np.float32(um)
        seen.append(moved(brain.values - np.float32(surroundings(brain)), vectors))
    levels = [float(np.abs(one[group.tissue]).mean()) for one in seen]
    scaled = [one / np.float32(level or 1.0) for one, level in zip(seen, levels, strict=True)]
    sigma = SHADE_UM / um
    tissue = group.tissue.astype(np.float32)
    smooth = [ndimage.gaussian_filter(np.abs(one) * tissue, sigma) for one in scaled]
    middle = mean_of(smooth)
    floor = np.float32(1e-3 * middle.max())
    gains = []
    for one, level in zip(smooth, levels, strict=True):
        gain = np.clip((middle + floor) / (one + floor), 1 / MOST_GAIN, MOST_GAIN)
        gains.append(np.asarray(gain * np.float32(np.mean(levels) / (level or 1.0)), np.float32))
    return float(np.mean([surroundings(brain) for brain in brains])), gains


def surroundings(brain: WorkingBrain) -> float:
    """Return the median value beside the tissue; 0 where there is only tissue."""
    outside = brain.values[~ndimage.binary_dilation(brain.mask, iterations=2)]
    return float(np.median(outside)) if len(outside) else 0.0


def _beyond(volume: Volume, points_um: Float64, around: float) -> Float32:
    """Return the values of a volume at points, its surroundings beyond its box."""
    places = points_um / np.asarray(volume.spacing_um)
    inside = ((places >= -0.5) & (places <= np.array(volume.values.shape) - 0.5)).all(axis=1)
    return np.where(inside, sampled(volume.values, places), np.float32(around)).astype(np.float32)


def _within(places: Float64, shape: Sequence[int]) -> Float64:
    return np.clip(places, 0, np.array(shape) - 1)


def _in_tissue(field: Displacement, tissue: Bool) -> Float32:
    p, i, r = tissue.shape
    return np.asarray(field.vectors[:p, :i, :r][tissue])


def _voted(
    annotated: Sequence[tuple[Annotation, Displacement]], grid: tuple[Sequence[int], Sequence[float]]
) -> UInt32:
    """Return the label that most brains have at each voxel; of several, that of the earliest brain."""
    out = np.empty(tuple(grid[0]), np.uint32)
    for planes in slabs(grid[0]):
        points = grid_points(grid[0], grid[1], planes)
        found = [
            sampled(one.labels, field.apply(points) / np.asarray(one.spacing_um), 0)
            for one, field in annotated
        ]
        votes = np.stack([np.sum([other == one for other in found], axis=0) for one in found])
        best = votes.argmax(axis=0)
        out[planes] = np.choose(best, found).reshape(-1, *grid[0][1:])
    return out


def _quality(group: Group, figures: dict[str, Any], variance: Float32) -> dict[str, Any]:
    mean = mean_of([field.vectors for field in group.to_brains])
    return {
        "brains": len(group.to_brains),
        "folds": 0,
        "mean_displacement_um_largest": float(np.abs(mean).max()),
        "mean_standard_deviation_between_brains": float(np.sqrt(np.maximum(variance, 0)).mean()),
        "by_brain": figures,
    }
