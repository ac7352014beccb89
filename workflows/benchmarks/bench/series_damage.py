"""What labs' series have, drawn into a series whose true places are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from benchmark_alignment import Drawn
from pipeline.registration import SectionThumbnail

TORN_SHARES = 0.35, 0.6  # least and largest part of a picture that is taken away
FAR_SECTIONS = 4  # least distance of two far sections that are exchanged


@dataclass(frozen=True, eq=False)
class Damaged:
    """A series with something wrong in it.

    Attributes
    ----------
    drawn : Drawn
        The series; `truth` is where its pictures really belong.
    culprits : frozenset of int
        Numbers of the sections that are wrong.
    """

    drawn: Drawn
    culprits: frozenset[int] = field(default_factory=frozenset)


def whole(drawn: Drawn, rng: np.random.Generator) -> Damaged:
    """Leave a series as it is."""
    return Damaged(drawn)


def exchanged(drawn: Drawn, rng: np.random.Generator, least: int = 1, most: int = 1) -> Damaged:
    """Exchange the pictures of two sections that lie `least` to `most` sections apart."""
    ordered = _ordered(drawn)
    i = int(rng.integers(1, max(2, len(ordered) - least - 1)))
    j = min(i + int(rng.integers(least, most + 1)), len(ordered) - 1)
    return _showing(drawn, {i: ordered[j], j: ordered[i]})


def far_exchanged(drawn: Drawn, rng: np.random.Generator) -> Damaged:
    """Exchange the pictures of two sections far from each other."""
    return exchanged(drawn, rng, FAR_SECTIONS, max(FAR_SECTIONS, len(drawn.thumbnails) // 2))


def used_twice(drawn: Drawn, rng: np.random.Generator) -> Damaged:
    """Show the picture of one section in the next one too."""
    ordered = _ordered(drawn)
    i = int(rng.integers(1, len(ordered) - 1))
    return _showing(drawn, {i: ordered[i - 1]})


def mirrored(drawn: Drawn, rng: np.random.Generator) -> Damaged:
    """Turn one section over, left for right."""
    ordered = _ordered(drawn)
    one = ordered[int(rng.integers(1, len(ordered) - 1))]
    points, places = drawn.truth[one.section_number]
    width = one.pixels.shape[1]
    last = float(one.thumbnail_to_section[0] @ [width - 1, 0.0, 1.0] + one.thumbnail_to_section[0, 2])
    shown = replace(one, pixels=np.ascontiguousarray(one.pixels[:, ::-1]))
    truth = points * np.array([-1.0, 1.0]) + np.array([last, 0.0]), places
    sections = [shown if t is one else t for t in ordered]
    changed = replace(drawn, thumbnails=sections, truth=drawn.truth | {one.section_number: truth})
    return Damaged(changed, frozenset({one.section_number}))


def torn(drawn: Drawn, rng: np.random.Generator) -> Damaged:
    """Take a part of two pictures away, as far as their glass."""
    ordered = _ordered(drawn)
    chosen = rng.choice(len(ordered), 2, replace=False)
    return _showing(drawn, {int(k): _cut(ordered[k], float(rng.uniform(*TORN_SHARES))) for k in chosen})


def misnumbered(drawn: Drawn, rng: np.random.Generator, count: int = 1) -> Damaged:
    """Give some sections numbers of their own that are far from the right ones."""
    ordered = _ordered(drawn)
    numbers = [t.section_number for t in ordered]
    step = int(np.median(np.diff(numbers)))
    um = (ordered[-1].z_um - ordered[0].z_um) / (numbers[-1] - numbers[0])
    changed = {t.section_number: t for t in ordered}
    truth, culprits = dict(drawn.truth), set[int]()
    for k in rng.choice(np.arange(1, len(ordered) - 1), count, replace=False):
        one = ordered[k]
        far = [n for n in numbers if abs(n - one.section_number) >= FAR_SECTIONS * step]
        number = int(rng.choice(far)) + max(1, step // 2)
        if number in changed:
            continue
        del changed[one.section_number]
        z_um = one.z_um + um * (number - one.section_number)
        changed[number] = replace(one, section_number=number, z_um=z_um)
        truth[number] = truth.pop(one.section_number)
        culprits.add(number)
    return Damaged(replace(drawn, thumbnails=list(changed.values()), truth=truth), frozenset(culprits))


def window(drawn: Drawn, first: int, count: int) -> Damaged:
    """Keep `count` neighbouring sections."""
    kept = _ordered(drawn)[first : first + count]
    truth = {t.section_number: drawn.truth[t.section_number] for t in kept}
    return Damaged(replace(drawn, thumbnails=kept, truth=truth))


KINDS: dict[str, Callable[[Drawn, np.random.Generator], Damaged]] = {
    "whole": whole,
    "exchanged": exchanged,
    "far exchanged": far_exchanged,
    "used twice": used_twice,
    "mirrored": mirrored,
    "torn": torn,
    "1 number": misnumbered,
    "2 numbers": lambda drawn, rng: misnumbered(drawn, rng, 2),
    "3 numbers": lambda drawn, rng: misnumbered(drawn, rng, 3),
}


def _ordered(drawn: Drawn) -> list[SectionThumbnail]:
    return sorted(drawn.thumbnails, key=lambda t: t.z_um)


def _showing(drawn: Drawn, pictures: dict[int, SectionThumbnail]) -> Damaged:
    """Return a series in which some sections, by their place in it, show other pictures."""
    ordered = _ordered(drawn)
    truth = dict(drawn.truth)
    culprits = set()
    for k, shown in pictures.items():
        slot = ordered[k]
        truth[slot.section_number] = drawn.truth[shown.section_number]
        ordered[k] = replace(shown, section_number=slot.section_number, z_um=slot.z_um)
        culprits.add(slot.section_number)
    return Damaged(replace(drawn, thumbnails=ordered, truth=truth), frozenset(culprits))


def _cut(thumbnail: SectionThumbnail, share: float) -> SectionThumbnail:
    pixels = thumbnail.pixels.copy()
    rows = pixels[:3].reshape(3 * pixels.shape[1], -1)
    pixels[:, : round(share * pixels.shape[1])] = np.median(rows, axis=0).astype(np.uint8)
    return replace(thumbnail, pixels=pixels)
