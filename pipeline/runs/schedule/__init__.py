"""The one place that knows Dask: series x stages become a graph, run here or on a cluster."""

from pipeline.runs.schedule.engine import ENGINES, Engine, Event, check_engine, run_jobs
from pipeline.runs.schedule.graph import steps_from
from pipeline.stages.table import STEPS

__all__ = ["ENGINES", "STEPS", "Engine", "Event", "check_engine", "run_jobs", "steps_from"]
