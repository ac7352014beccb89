"""Rendered series that share a brain, and series into which sections were mixed that do not belong.

    python benchmark_mixtures.py --data $ISH_DATA --families interleaved organ --seeds 1 2 3

Interleaved: the sections of one brain dealt in turns to several series, each of another stain; every series
aligned alone and all together. Mixed: some sections of a series exchanged for such of another plane, another
organ, glass, or half of them for those of another brain; the others' errors beside those of the series from
which the same sections were taken away, how many outliers are left out, and how many of the right ones.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from benchmark_alignment import (
    CHANGES,
    HARD,
    NRP1,
    PDYN,
    POSE,
    PROX1,
    SHAPE,
    Drawn,
    _geometry,
    draw,
    measure,
)
from pipeline.core.errors import AlignmentError
from pipeline.core.model import SeriesAlignment, Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.phantom import RenderOptions, StructureExpression, build_scene
from pipeline.registration import AlignmentOptions, SectionThumbnail, Series, align_series, align_specimen

OTHER = {NRP1: PROX1, PROX1: NRP1}


@dataclass(frozen=True)
class Shared:
    """A brain whose sections are dealt to `series` series in turns, every n-th of them."""

    data_set: str
    options: dict[str, float]
    series: int
    every: int = 1


@dataclass(frozen=True)
class Mixed:
    """A series into which strangers are mixed; `share` of the sections, else one to four."""

    data_set: str
    options: dict[str, float]
    kind: str
    every: int = 1
    share: float = 0.0


TEXTURE = {**POSE, "texture": 0.25}
ROUGH = {**HARD, "texture": 0.25, "losses": 0.5}
SHARED = {
    "interleaved": Shared(NRP1, TEXTURE, 3),
    "interleaved sagittal": Shared(PROX1, ROUGH, 2),
    "interleaved shape": Shared(PDYN, SHAPE, 4),
}
MIXED = {
    f"{plane} {kind}": Mixed(data_set, options, kind, every, 0.5 if kind == "brain" else 0.0)
    for plane, data_set, options, every in (("coronal", NRP1, TEXTURE, 2), ("sagittal", PROX1, ROUGH, 1))
    for kind in ("plane", "organ", "glass", "place", "brain")
}


def main() -> int:
    """Print a line a series."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [*SHARED, *MIXED]
    parser.add_argument("--data", type=Path, default=os.environ.get("ISH_DATA"), help="default: $ISH_DATA")
    parser.add_argument("--families", nargs="+", default=known, choices=known)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    chosen = parser.parse_args()
    if chosen.data is None:
        print("no data: give --data DIR or set ISH_DATA", file=sys.stderr)
        return 2
    reference = read_reference(Path(chosen.data) / "reference")
    for name in chosen.families:
        for seed in chosen.seeds:
            if name in SHARED:
                shared(name, seed, reference, chosen.data)
            else:
                mixed(name, seed, reference, chosen.data)
    return 0


def shared(name: str, seed: int, reference: ReferenceSpace, data: Path) -> None:
    """Print what every series of a brain reaches alone and together."""
    family = SHARED[name]
    drawn = []
    for k in range(family.series):
        geometry = _geometry(Path(data) / "ish" / family.data_set / "data_set.xml", 1)
        images = geometry.data_set.section_images[:: family.every][k :: family.series]
        geometry = replace(geometry, data_set=replace(geometry.data_set, section_images=images))
        options = RenderOptions(seed=10 * seed + k, specimen_seed=seed, **family.options)  # type: ignore[arg-type]
        drawn.append(draw(build_scene(reference, geometry, StructureExpression({}), options)))
    options_of = [_options(one) for one in drawn]
    started = time.perf_counter()
    alone = [_aligned(one.thumbnails, reference, own) for one, own in zip(drawn, options_of, strict=True)]
    between = time.perf_counter()
    series = [Series.of(one.thumbnails, options_of[k], number=k) for k, one in enumerate(drawn)]
    together = align_specimen(series, reference)
    seconds = f"{between - started:6.0f} s alone {time.perf_counter() - between:6.0f} s together"
    same = len({a.alignment3d.volume_to_reference.tobytes() for a in together if _is(a)}) == 1
    for k, one in enumerate(drawn):
        texts = [_reached(one, outcome) for outcome in (alone[k], together[k])]
        end = f"  one Alignment3d: {same} {seconds}" if k == 0 else ""
        print(f"{name:22}{seed:4} series {k + 1}  alone {texts[0]}  together {texts[1]}{end}", flush=True)


def _is(outcome: object) -> bool:
    return isinstance(outcome, SeriesAlignment)


def _options(drawn: Drawn) -> AlignmentOptions:
    data_set = drawn.scene.geometry.data_set
    return AlignmentOptions(plane_of_section=data_set.plane_of_section, hemisphere=data_set.hemisphere)


def _aligned(
    thumbnails: list[SectionThumbnail], reference: ReferenceSpace, options: AlignmentOptions
) -> SeriesAlignment | AlignmentError:
    try:
        return align_series(thumbnails, reference, options)
    except AlignmentError as error:
        return error


def _reached(drawn: Drawn, outcome: SeriesAlignment | AlignmentError) -> str:
    if isinstance(outcome, AlignmentError):
        return f"refused: {outcome}"
    median, p95, floor, floor95, passed, checked, failed, wrong = measure(drawn, outcome)
    counts = f"{passed:.0f}/{checked:.0f}/{failed:.0f}"
    return f"{median:6.1f} {p95:6.1f} (floor {floor:5.1f} {floor95:6.1f}) {counts:>8} wrong {wrong:.0f}"


def mixed(name: str, seed: int, reference: ReferenceSpace, data: Path) -> None:
    """Print what the right sections of a series reach beside strangers, and what becomes of these."""
    family = MIXED[name]
    path = Path(data) / "ish" / family.data_set / "data_set.xml"
    options = RenderOptions(seed=seed, **family.options)  # type: ignore[arg-type]
    drawn = draw(build_scene(reference, _geometry(path, family.every), StructureExpression({}), options))
    rng = np.random.default_rng([seed, 91])
    numbers = sorted(t.section_number for t in drawn.thumbnails)
    count = round(family.share * len(numbers)) if family.share else int(rng.integers(1, 5))
    if family.share:
        start = int(rng.integers(0, 2)) * (len(numbers) - count)
        slots = numbers[start : start + count]
    else:
        slots = sorted(int(n) for n in rng.choice(numbers, count, replace=False))
    outliers = OUTLIERS[family.kind](family, seed, reference, data, drawn, slots)
    right = replace(
        drawn,
        thumbnails=[t for t in drawn.thumbnails if t.section_number not in slots],
        truth={n: t for n, t in drawn.truth.items() if n not in slots},
    )
    own = _options(drawn)
    pure = _aligned(right.thumbnails, reference, own)
    outcome = _aligned([*right.thumbnails, *outliers], reference, own)
    if isinstance(outcome, AlignmentError):
        print(f"{name:16}{seed:4}  pure {_reached(right, pure)}  mixed refused: {outcome}", flush=True)
        return
    out = [s.alignment2d.section_number for s in outcome.sections if s.status is Status.FAIL]
    passed = [n for n in slots if (s := outcome.of(n)) is not None and s.status is Status.PASS]
    lost = len([n for n in out if n not in slots])
    lost -= 0 if not _is(pure) else sum(s.status is Status.FAIL for s in pure.sections)  # type: ignore[union-attr]
    print(
        f"{name:16}{seed:4}  pure {_reached(right, pure)}  mixed {_reached(right, outcome)}"
        f"  outliers out {len(set(out) & set(slots))}/{count} passed {len(passed)}  right ones lost {lost}",
        flush=True,
    )


Outliers = Callable[..., list[SectionThumbnail]]


def _into(slots: list[int], shown: list[SectionThumbnail], drawn: Drawn) -> list[SectionThumbnail]:
    """Give pictures the numbers of some sections."""
    z_um = drawn.scene.geometry.data_set.z_um
    return [replace(t, section_number=n, z_um=z_um(n)) for n, t in zip(slots, shown, strict=True)]


def _painted(
    drawn: Drawn, slots: list[int], paint: Callable[[int, int], np.ndarray]
) -> list[SectionThumbnail]:
    """Put what is painted in grey, of height and width, in place of the pictures of some sections."""
    by_number = {t.section_number: t for t in drawn.thumbnails}
    shown = []
    for slot in slots:
        grey = paint(*by_number[slot].pixels.shape[:2])
        pixels = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        shown.append(replace(by_number[slot], pixels=pixels))
    return shown


def _of_plane(
    family: Mixed, seed: int, reference: ReferenceSpace, data: Path, drawn: Drawn, slots: list[int]
) -> list[SectionThumbnail]:
    """Sections of another brain in the other plane."""
    other = _geometry(Path(data) / "ish" / OTHER[family.data_set] / "data_set.xml", 1)
    rng = np.random.default_rng([seed, 92])
    images = [other.data_set.section_images[int(k)] for k in rng.choice(len(other.data_set.section_images),
              len(slots), replace=False)]  # fmt: skip
    geometry = replace(other, data_set=replace(other.data_set, section_images=tuple(images)))
    options = RenderOptions(seed=seed + 500, **POSE)  # type: ignore[arg-type]
    shown = draw(build_scene(reference, geometry, StructureExpression({}), options))
    return _into(slots, shown.thumbnails, drawn)


def _of_organ(
    family: Mixed, seed: int, reference: ReferenceSpace, data: Path, drawn: Drawn, slots: list[int]
) -> list[SectionThumbnail]:
    """Something round with lobes and tubules, as large as a section."""
    rng = np.random.default_rng([seed, 93])

    def organ(h: int, w: int) -> np.ndarray:
        y, x = np.mgrid[:h, :w]
        angle = np.arctan2(y - h / 2, x - w / 2)
        edge = 1.0 + sum(
            rng.uniform(-0.12, 0.12) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in range(2, 7)
        )
        inside = ((y - h / 2) / (0.42 * h)) ** 2 + ((x - w / 2) / (0.42 * w)) ** 2 < edge**2
        grain = cv2.GaussianBlur(rng.normal(size=(h, w)), (0, 0), float(rng.uniform(2.0, 8.0)))
        shade = 190.0 + 60.0 * grain / np.abs(grain).max()
        return np.asarray(np.where(inside, shade, 240.0) + rng.normal(0.0, 2.0, (h, w)))

    return _painted(drawn, slots, organ)


def _of_glass(
    family: Mixed, seed: int, reference: ReferenceSpace, data: Path, drawn: Drawn, slots: list[int]
) -> list[SectionThumbnail]:
    """Slides without tissue: noise, uneven light, specks of dust."""
    rng = np.random.default_rng([seed, 94])

    def glass(h: int, w: int) -> np.ndarray:
        y, x = np.mgrid[:h, :w]
        grey = 235.0 + 6.0 * x / w - 5.0 * y / h + rng.normal(0.0, 2.0, (h, w))
        for _ in range(12):
            cy, cx, r = rng.uniform(0, h), rng.uniform(0, w), rng.uniform(0.5, 2.5)
            grey[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = 120.0
        return np.asarray(grey)

    return _painted(drawn, slots, glass)


def _of_place(
    family: Mixed, seed: int, reference: ReferenceSpace, data: Path, drawn: Drawn, slots: list[int]
) -> list[SectionThumbnail]:
    """Sections of another brain in the same plane and stain, from far away in it."""
    geometry = CHANGES["tilted"](
        _geometry(Path(data) / "ish" / family.data_set / "data_set.xml", 1), seed + 500
    )
    rng = np.random.default_rng([seed, 95])
    images = geometry.data_set.section_images
    far = []
    for slot in slots:
        thickness = geometry.data_set.section_thickness_um
        away = [i for i in images if abs(i.section_number - slot) * thickness > 1500.0]
        far.append(away[int(rng.integers(len(away)))])
    options = RenderOptions(seed=seed, **family.options)  # type: ignore[arg-type]
    kept = replace(geometry, data_set=replace(geometry.data_set, section_images=tuple(dict.fromkeys(far))))
    drawn_far = draw(build_scene(reference, kept, StructureExpression({}), options))
    by_number = {t.section_number: t for t in drawn_far.thumbnails}
    return _into(slots, [by_number[i.section_number] for i in far], drawn)


def _of_brain(
    family: Mixed, seed: int, reference: ReferenceSpace, data: Path, drawn: Drawn, slots: list[int]
) -> list[SectionThumbnail]:
    """The same numbers and stain, cut from another brain of another size, laid otherwise on the block."""
    geometry = CHANGES["tilted"](
        _geometry(Path(data) / "ish" / family.data_set / "data_set.xml", 1), seed + 500
    )
    images = tuple(i for i in geometry.data_set.section_images if i.section_number in slots)
    options = RenderOptions(seed=seed, **family.options)  # type: ignore[arg-type]
    kept = replace(geometry, data_set=replace(geometry.data_set, section_images=images))
    shown = draw(build_scene(reference, kept, StructureExpression({}), options)).thumbnails
    return _into(slots, sorted(shown, key=lambda t: t.section_number), drawn)


OUTLIERS: dict[str, Outliers] = {
    "plane": _of_plane,
    "organ": _of_organ,
    "glass": _of_glass,
    "place": _of_place,
    "brain": _of_brain,
}

if __name__ == "__main__":
    sys.exit(main())
