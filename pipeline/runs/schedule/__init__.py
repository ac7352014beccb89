"""Scheduling with Dask: series x stages become a graph that runs here or on a cluster.

No other package imports Dask.
"""

from pipeline.runs.schedule.engine import ENGINES, Engine, Event, check_engine, run_jobs
from pipeline.runs.schedule.graph import steps_from
from pipeline.stages.table import STEPS

__all__ = ["ENGINES", "STEPS", "Engine", "Event", "check_engine", "run_jobs", "steps_from"]
