"""One task = one stage of one section or series: skip what is done, catch what fails, leave a receipt.

This is the one border where errors stop: a bad section is recorded and left out, a bad series does not
stop the batch. Tasks carry paths and parameters and return a small receipt; pixels travel through the
store.
"""

from __future__ import annotations

import hashlib
import json
import resource
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.jobs import SeriesJob, Stage, task_name
from pipeline.model import SectionImage
from pipeline.store.run import Receipt


def run_task(
    stage: Stage, job: SeriesJob, section: SectionImage | None, upstream: Mapping[str, Receipt]
) -> Receipt:
    """Run one task, or return its receipt where it is already done.

    Whatever goes wrong inside becomes a receipt of state `failed`; what cannot run because of an
    earlier failure becomes `left out`.
    """
    name = task_name(stage, section)
    blocked = stage.blocked(job, section, upstream)
    if blocked:
        return _keep(job, Receipt(name, "left out", "", message=blocked))
    digest = ""
    wall, cpu = time.perf_counter(), time.thread_time()
    try:
        digest = _digest([code_digest(), stage.name, stage.key(job, section, upstream)])
        earlier = job.run.read_receipt(name)
        if earlier and _stands(stage, job, section, earlier, digest):
            return earlier
        facts = stage.run(job, section, upstream, digest)
        state, message = "done", ""
    except PipelineError as error:
        facts, state, message = {}, "failed", str(error)
    except Exception as error:  # the border: a fault of ours must not stop the other series
        facts, state, message = {}, "failed", f"internal error: {type(error).__name__}: {error}"
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    numbers = {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3), "peak_mb": round(peak, 1)}
    return _keep(job, Receipt(name, state, digest, message, facts, **numbers))  # type: ignore[arg-type]


def _stands(
    stage: Stage, job: SeriesJob, section: SectionImage | None, earlier: Receipt, digest: str
) -> bool:
    fresh = stage.name not in job.redo and earlier.ok and earlier.digest == digest
    return fresh and all(path.exists() for path in stage.outputs(job, section))


def _keep(job: SeriesJob, receipt: Receipt) -> Receipt:
    try:
        job.run.write_receipt(receipt)
    except PipelineError as error:
        return Receipt(receipt.task, "failed", receipt.digest, message=receipt.message or str(error))
    return receipt


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:24]


@cache
def code_digest() -> str:
    """Return a digest of this package's sources and templates: other code means other results."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(p for p in root.rglob("*") if p.suffix in {".py", ".j2"}):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
