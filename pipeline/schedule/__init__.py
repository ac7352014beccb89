"""The one place that knows Dask: series x stages become a graph, run on threads or processes."""

from pipeline.schedule.engine import ENGINES, STEPS, run_jobs, steps_from

__all__ = ["ENGINES", "STEPS", "run_jobs", "steps_from"]
