"""What a task on the pixels of a section needs of the machine's memory."""

from __future__ import annotations

from pipeline.core.errors import DataError
from pipeline.core.model import SectionImage

# Measured on a section of 170 million values: 1 and 2.9 bytes a value; what a codec holds comes on top.
BYTES_PER_VALUE = {"measure": 2.0, "detect": 5.0}
BASE_MB = 60.0
MB = 1024.0**2


def section_mb(stage: str, values: int) -> float | None:
    """Return about how many MB a task on so many stored values needs at its peak; None of other tasks."""
    per_value = BYTES_PER_VALUE.get(stage)
    return None if per_value is None else BASE_MB + per_value * values / MB


def check_memory(section: SectionImage, values: int, memory_mb: float) -> None:
    """Raise DataError for an image that needs more memory than a run may take."""
    need_mb = max(section_mb(stage, values) or 0.0 for stage in BYTES_PER_VALUE)
    if need_mb > memory_mb:
        raise DataError(
            f"{section.path}: needs about {need_mb:.0f} MB, the tasks of this run may take"
            f" {memory_mb:.0f} MB together; is it the right image? --memory sets another limit"
        )
