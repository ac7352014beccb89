"""How a run was made, with everything needed to repeat it: provenance.json."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.core.code import code_digest
from pipeline.core.package import CHECKOUT, PACKAGE
from pipeline.formats.manifests import allen_xml, sections_csv, series_yaml
from pipeline.formats.volumes.brainglobe import atlas_origin, is_brainglobe, is_brainglobe_3
from pipeline.inputs.fetch.references import sha256_of, source_of
from pipeline.inputs.references import reference_files
from pipeline.stages.job import SeriesJob, Upstream
from pipeline.store.tasks import NOT_STORED, Receipt
from pipeline.system.files import real_path

LIBRARIES = (
    "dask", "imagecodecs", "numba", "numpy", "opencv-python-headless", "scikit-image", "scipy", "SimpleITK",
    "tifffile", "zarr",
)  # fmt: skip
MANIFESTS = (sections_csv.NAME, series_yaml.NAME, allen_xml.NAME, "alignment.json")


def provenance(job: SeriesJob, upstream: Upstream, digest: str) -> dict[str, Any]:
    """Return the content of `provenance.json`.

    Parameters
    ----------
    job : SeriesJob
        The series.
    upstream : mapping of str to Receipt
        Receipts of all tasks, by task name.
    digest : str
        Digest of the task that writes it.

    Returns
    -------
    dict of str to Any
        Versions, host, configuration, inputs with checksums, and costs of stages and tasks.
    """
    return {
        "pipeline": version("ish-pipeline"),
        "git": git_state(),
        "code_digest": code_digest(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": {"name": platform.node(), "processors": os.cpu_count(), "machine": platform.machine()},
        "packages": versions(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "digest": digest,
        **what_was_read(job),
        "stamps": {str(Path(text).absolute()): list(when) for text, when in job.stamps.items()},
        "aligned_with": [one.run.path.name for one in job.specimen_series],
        "stages": stage_costs(upstream),
        "tasks": {name: _cost(receipt) for name, receipt in upstream.items()},
    }


def what_was_read(job: SeriesJob) -> dict[str, Any]:
    """Return configuration, manifests, images and reference of a series, with locations and checksums.

    Parameters
    ----------
    job : SeriesJob
        The series.

    Returns
    -------
    dict of str to Any
        Part of `provenance.json`; checksums are SHA-256 in hexadecimal.
    """
    configuration = job.config.model_dump(mode="json")
    return {
        "configuration": configuration,
        "configuration_digest": _digest(configuration),
        "source": str(job.source.absolute()),
        "manifests": {str(path): sha256_of(path) for path in _manifests(job.source)},
        "inputs": {str(Path(text).absolute()): digest for text, digest in job.files.items()},
        "reference_directory": str(real_path(job.reference_directory)) if job.reference_directory else None,
        "reference": reference_origin(job.reference_directory),
    }


def stage_costs(receipts: Mapping[str, Receipt]) -> dict[str, dict[str, Any]]:
    """Return the cost of every stage.

    A peak is that of the whole process while a task ran; with threads as workers it includes other tasks.

    Parameters
    ----------
    receipts : mapping of str to Receipt
        Receipts by task name.

    Returns
    -------
    dict of str to dict
        By stage: number of `tasks`, summed wall and CPU time (`wall_s`, `cpu_s`) in s, and the highest peak
        memory `peak_mb` in MB.
    """
    stages: dict[str, list[Receipt]] = {}
    for receipt in receipts.values():
        stages.setdefault(receipt.id.stage, []).append(receipt)
    return {
        name: {
            "tasks": len(found),
            "wall_s": round(sum(r.wall_s for r in found), 3),
            "cpu_s": round(sum(r.cpu_s for r in found), 3),
            "peak_mb": max(r.peak_mb for r in found),
        }
        for name, found in stages.items()
    }


def reference_origin(directory: Path | None) -> dict[str, Any]:
    """Return name, citation, terms and checksums of a reference.

    Parameters
    ----------
    directory : Path or None
        Reference folder; None for the phantom, which has a name only.

    Returns
    -------
    dict of str to Any
        `name`, `citation`, `terms`, and `files` with SHA-256 by path from the folder.
    """
    if directory is None:
        return {"name": "phantom", "citation": None, "terms": None, "files": {}}
    directory = real_path(directory)  # parts of a BrainGlobe atlas lie elsewhere in its tree
    source = source_of(directory) or {}
    name, citation = directory.name, source.get("citation")
    if is_brainglobe(directory) or is_brainglobe_3(directory):
        name, citation = atlas_origin(directory)
    return {
        "name": name,
        "citation": citation,
        "terms": source.get("terms"),
        "files": {
            os.path.relpath(path, directory): _known_sha256(path) for path in reference_files(directory)
        },
    }


def reference_key(job: SeriesJob) -> dict[str, Any]:
    """Return what the numbers of a run depend on in its reference: file contents, wherever they lie.

    Parameters
    ----------
    job : SeriesJob
        The series.

    Returns
    -------
    dict of str to Any
        `files` with SHA-256 by path from the folder, and the configuration of the reference without the
        folder or its name.
    """
    configured = job.config.reference.model_dump(mode="json", exclude={"directory", "name"})
    return {"files": reference_origin(job.reference_directory)["files"], **configured}


@cache
def git_state() -> dict[str, Any] | None:
    """Return the commit and whether files differ from it; None where the package is not in a checkout."""
    if not (CHECKOUT / ".git").exists():
        return None
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", PACKAGE.name)
    return None if commit is None else {"commit": commit, "changed": bool(changes)}


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files of a folder.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    if path.is_file():
        return sha256_of(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(os.fsencode(file.relative_to(path)))
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of the libraries that influence numbers."""
    return {name: version(name) for name in LIBRARIES}


def _manifests(source: Path) -> list[Path]:
    folder = source.absolute()
    return [folder / name for name in MANIFESTS if (folder / name).is_file()]


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _known_sha256(path: Path) -> str:
    state = path.stat()
    return _sha256_once(real_path(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256_once(path: Path, size: int, modified_ns: int) -> str:
    return sha256_of(path)


def _cost(receipt: Receipt) -> dict[str, Any]:
    return {k: v for k, v in asdict(receipt).items() if k not in {"task", "facts", "outputs", *NOT_STORED}}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
