"""Memory that a task on the pixels of a section needs."""

from __future__ import annotations

from pipeline.core.errors import DataError
from pipeline.core.model import SectionImage

# Measured on a section of 170 million values: 1 and 2.9 bytes a value; buffers of codecs come on top.
BYTES_PER_VALUE = {"measure": 2.0, "detect": 5.0}
BASE_MB = 60.0  # of a task whatever the size of its image
MB = 1024.0**2


def section_mb(stage: str, values: int) -> float | None:
    """Estimate the peak memory of a task on a section.

    Parameters
    ----------
    stage : str
        Stage of the task.
    values : int
        Number of values that the image stores (width x height x channels).

    Returns
    -------
    float or None
        Peak, MB of 2**20 bytes; None for stages that do not read a section's pixels.
    """
    per_value = BYTES_PER_VALUE.get(stage)
    return None if per_value is None else BASE_MB + per_value * values / MB


def check_memory(section: SectionImage, values: int, memory_mb: float) -> None:
    """Check that an image fits into the memory that a run may use.

    Parameters
    ----------
    section : SectionImage
        The section.
    values : int
        Number of values that its image stores.
    memory_mb : float
        Memory that all tasks of the run may use together, MB.

    Raises
    ------
    DataError
        Where the image needs more.
    """
    need_mb = max(section_mb(stage, values) or 0.0 for stage in BYTES_PER_VALUE)
    if need_mb > memory_mb:
        raise DataError(
            f"{section.path}: needs about {need_mb:.0f} MB, but all tasks of this run together may use"
            f" {memory_mb:.0f} MB; is it the right image? --memory raises the limit"
        )
