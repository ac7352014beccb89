"""The largest image that is decoded, in pixels."""

from __future__ import annotations

import math
import os

from pipeline.core.errors import ConfigError, DataError

MEGAPIXELS = "ISH_MAX_IMAGE_MEGAPIXELS"  # environment variable that raises or lowers the limit
DEFAULT_MEGAPIXELS = 4000.0  # about 60,000 x 60,000 px, 3 times a whole brain section at 0.3 um


def max_pixels() -> float:
    """Return the largest number of pixels of an image.

    Returns
    -------
    float, px
        From `ISH_MAX_IMAGE_MEGAPIXELS`, else the default.

    Raises
    ------
    ConfigError
        Where the variable holds no positive number.
    """
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
    """Refuse an image without pixels or with more than `max_pixels`.

    Parameters
    ----------
    width, height : int, px
        Size that the image states.

    Raises
    ------
    DataError
        Where the size is refused; the message names the variable that raises the limit.
    """
    if width < 1 or height < 1:
        raise DataError(f"expected a picture, got {width} x {height} pixels")
    if width * height > max_pixels():
        raise DataError(
            f"expected at most {max_pixels() / 1e6:g} megapixels, got {width} x {height} pixels, which take"
            f" {width * height / 1e9:.3g} GB a channel; if that is right, set {MEGAPIXELS}"
        )
