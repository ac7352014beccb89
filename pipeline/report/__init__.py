"""The pages that show a run: one self-contained page per series, and an index over a folder of runs."""

from pipeline.report.overview import write_index
from pipeline.report.page import write_report

__all__ = ["write_index", "write_report"]
