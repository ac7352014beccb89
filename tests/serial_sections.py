"""Coronal sections of the small brain of `brains`, turned, shifted and stained unevenly, with their truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from brains import MIDDLE_UM, brain
from scipy import ndimage

from pipeline.core.model import Float64, SectionDataSet, SectionImage
from pipeline.formats.images.files import write_image
from pipeline.formats.manifests.sections_csv import write_manifest

PIXEL_UM, THICKNESS_UM = 100.0, 100.0
SIZE = (90, 100)  # px
CENTRE = np.array([3500.0, MIDDLE_UM])  # (I, R) of the middle of a section
GREY_UM = 200.0


def write_sections(
    folder: Path,
    numbers: list[int],
    *,
    seed: int = 1,
    data_set_id: int = 41,
    lost: tuple[int, ...] = (),
    holed: tuple[int, ...] = (),
    hints: bool = True,
) -> dict[int, Float64]:
    """Write a series, and return the place in the brain (I, R) of every pixel by section number, um."""
    grey, _ = brain()
    folder.mkdir(parents=True)
    images, files, truth = [], {}, {}
    for number in numbers:
        draw = np.random.default_rng([seed, number])
        angle, gain = np.deg2rad(draw.uniform(-6, 6)), np.exp(draw.normal(0, 0.2))
        shift = draw.uniform(-200, 200, 2)
        y, x = np.meshgrid(*((np.arange(n) - n / 2) * PIXEL_UM for n in SIZE), indexing="ij")
        i = np.cos(angle) * y - np.sin(angle) * x + CENTRE[0] + shift[0]
        r = np.sin(angle) * y + np.cos(angle) * x + CENTRE[1] + shift[1]
        p = np.full(i.shape, number * THICKNESS_UM)
        dark = ndimage.map_coordinates(grey, np.stack([p, i, r]) / GREY_UM, order=1)
        if number in holed:
            dark[np.hypot(i - 2900.0, r - 3000.0) < 500.0] = 0.0
        light = 240.0 * np.clip(1 - dark / 255.0, 0.05, 1) ** gain + draw.normal(0, 1.5, dark.shape)
        truth[number] = np.stack([i, r], axis=-1)
        name = f"section_s{number:04d}.png"
        files[number] = name
        images.append(SectionImage(number, number, None, SIZE[1], SIZE[0], PIXEL_UM))
        if number not in lost:
            pixels = np.clip(np.rint(light), 0, 255).astype(np.uint8)
            write_image(folder / name, pixels, quality=95, resolution_um=PIXEL_UM)
    order, up = ("rostral_to_caudal", "superior") if hints else (None, None)
    write_manifest(
        folder,
        SectionDataSet(
            data_set_id,
            "coronal",
            THICKNESS_UM,
            tuple(images),
            section_order=order,
            image_up=up,  # type: ignore[arg-type]
        ),
        files=files,
    )
    return truth
