"""What may be opened and decoded at all: regular files, and images up to a size."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path

from pipeline.core.errors import ConfigError, DataError

MEGAPIXELS = "ISH_MAX_IMAGE_MEGAPIXELS"
DEFAULT_MEGAPIXELS = 4000.0  # 60,000 x 60,000 px: a whole brain section at 0.3 um is a third of that


KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path) -> int:
    """Return the size of a file in bytes; DataError for what may block whoever opens it."""
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        got = KINDS.get(stat.S_IFMT(state.st_mode), "something else")
        raise DataError(f"{path}: expected a file, got {got}")
    return state.st_size


def max_pixels() -> float:
    """Return how many pixels an image may have: `ISH_MAX_IMAGE_MEGAPIXELS`, else the default."""
    text = os.environ.get(MEGAPIXELS, "")
    if not text:
        return DEFAULT_MEGAPIXELS * 1e6
    try:
        megapixels = float(text)
    except ValueError:
        megapixels = math.nan
    if not megapixels > 0:
        raise ConfigError(f"{MEGAPIXELS}: expected a number of megapixels such as 8000, got {text[:40]!r}")
    return megapixels * 1e6


def check_size(width: int, height: int) -> None:
    """Refuse an image without pixels, or with more than may be; DataError says how to allow more."""
    if width < 1 or height < 1:
        raise DataError(f"expected a picture, got {width} x {height} pixels")
    if width * height > max_pixels():
        raise DataError(
            f"expected at most {max_pixels() / 1e6:g} megapixels, got {width} x {height} pixels, which take"
            f" {width * height / 1e9:.3g} GB a channel; if that is right, set {MEGAPIXELS}"
        )
