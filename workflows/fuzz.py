"""Mutated inputs by the thousand: whatever a file holds, one line comes, and the other series are finished.

    python workflows/fuzz.py --count 10000 --seed 1 [--jobs 2] [--keep fuzz-output]

Each case damages one file of one series, or one of the other files that commands read (configuration,
alignment, reference, grids), and runs the command in this process. Every tenth damaged series is one of a
batch of three. A case fails on a traceback or "internal error", a crash, a hang, an input that is not as it
was, or a good series that is not finished.
Failures are written down with their seed: `--only SEED` runs one again.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import io
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz_inputs import FORMS, make_templates
from fuzz_mutations import harm
from pipeline.cli import main as ish

CONFIG = Path(__file__).parent.parent / "configs" / "phantom.yaml"
GIVEN = ("--set", "alignment.name=given", "--scheduler", "threads", "--workers", "1")
HANG_S = 60
BATCHES = 0.1  # of damaged series
MEMORY_GB = 12
NEVER = re.compile(r"Traceback \(most recent call last\)|internal error|ish: unexpected ")


@dataclass(frozen=True)
class Case:
    """What to run and which file was harmed how; `good` are the series that must be finished."""

    words: tuple[object, ...]
    harmed: Path
    how: str
    good: tuple[str, ...] = ()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def make_case(templates: Path, place: Path, drawn: random.Random) -> Case:
    """Copy what a command reads into a folder, harm one file of it, and return what to run."""
    kind = drawn.choice(
        ("series",) * 12 + ("corrections", "corrections", "config", "reference", "grids", "grids", "table")
    )
    out = place / "out"
    good: tuple[str, ...] = ("1", "2")
    inputs = [word for name in ("good1", "good2") for word in ("--input", place / name)]
    for name in ("good1", "good2"):
        shutil.copytree(templates / name, place / name)
    if kind == "series":
        form = drawn.choice(FORMS)
        shutil.copytree(templates / form, place / "bad")
        harmed, how = harm(_files(place / "bad"), drawn)
        if drawn.random() > BATCHES:
            inputs, good = [], ()
        return Case(
            ("run", CONFIG, "--input", place / "bad", *inputs, "--output", out, *GIVEN), harmed, how, good
        )
    if kind == "corrections":
        harmed = Path(shutil.copy2(templates / drawn.choice(("quicknii.json", "webalign.json")), place))
        harmed, how = harm([harmed], drawn)
        given = ("--set", f"alignment.configuration.path={harmed}")
        return Case(("run", CONFIG, *inputs[:2], "--output", out, *GIVEN, *given), harmed, how)
    if kind == "config":
        harmed = place / "c.yaml"
        harmed.write_text(
            "reference: {name: phantom}\nseries:\n  section_step: 1\nalignment: {name: given}\n"
            "gridding: {smoothing_um: 200, z_smoothing_um: 140.0}\n"
        )
        harmed, how = harm([harmed], drawn)
        return Case(("run", harmed, *inputs[:2], "--output", out, *GIVEN), harmed, how)
    if kind == "table":
        harmed = place / "t.csv"
        harmed.write_text("series,note\ngood1,a\ngood2,b\n")
        harmed, how = harm([harmed], drawn)
        return Case(("run", CONFIG, "--input", harmed, "--output", out, *GIVEN), harmed, how)
    shutil.copytree(templates / "reference", place / "reference")
    if kind == "reference":
        harmed, how = harm(_files(place / "reference"), drawn)
        return Case(
            ("run", CONFIG, *inputs[:2], "--output", out, *GIVEN, "--reference", place / "reference"),
            harmed,
            how,
        )
    shutil.copytree(templates / "grids", place / "grids")
    harmed, how = harm(_files(place / "grids"), drawn)
    return Case(
        ("index", place / "grids", "--output", place / "index", "--reference", place / "reference"),
        harmed,
        how,
    )


def digest_of(folder: Path) -> str:
    """Return a digest of names and content of all plain files of a folder but its outputs."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.relative_to(folder).parts[0] in ("out", "index"):
            continue
        found.update(os.fsencode(path))
        if path.is_file() and not path.is_symlink():
            found.update(path.read_bytes())
    return found.hexdigest()


def call(words: Sequence[object]) -> tuple[int, str]:
    """Call the command; return its status and all that it says, a traceback of ours too."""
    printed = io.StringIO()
    sys.argv = ["ish", *map(str, words)]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            ish()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
            status = 99
    return status, printed.getvalue()


def trouble(case: Case, place: Path, before: str, status: int, printed: str) -> str:
    """Return what went wrong with a case; empty where all is as it should be."""
    found = NEVER.search(printed)
    if found:
        lines = [line for line in printed.splitlines() if line.strip()]
        return next((line for line in reversed(lines) if "rror" in line), found[0])
    if digest_of(place) != before:
        return "an input is not as it was"
    unfinished = [
        name for name in case.good if not (place / "out" / name / "structure_unionize.csv").exists()
    ]
    if unfinished:
        return f"series {unfinished[0]} is not finished: {printed.strip().splitlines()[-1:]}"
    if status not in (0, 1, 2):
        return f"status {status}"
    return ""


def run_one(seed: int, templates: Path, keep: Path | None) -> str:
    """Run one case; return what went wrong, with all that one needs to see it again."""
    drawn = random.Random(seed)
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        case = make_case(templates, place, drawn)
        before = digest_of(place)
        signal.alarm(HANG_S)
        status, printed = call(case.words)
        signal.alarm(0)
        what = trouble(case, place, before, status, printed)
        if what and keep:
            shutil.copytree(place, keep / str(seed), symlinks=True, ignore=_pipes, dirs_exist_ok=True)
            (keep / f"{seed}.txt").write_text(printed, errors="replace")
        return f"{seed}: {case.how} {case.harmed.relative_to(place)}: {what}" if what else ""
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _pipes(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder, name).is_file() or Path(folder, name).is_dir())]


def work(seeds: Sequence[int], templates: Path, keep: Path | None, log: Path) -> None:
    """Run cases in this process, writing down each before it begins: the last line of a log tells a crash."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_GB << 30, MEMORY_GB << 30))
    with log.open("a") as file:
        for seed in seeds:
            file.write(f"begin {seed}\n")
            file.flush()
            found = run_one(seed, templates, keep)
            file.write(f"end {seed} {' '.join(found.split())[:400]}\n")
            file.flush()


def run_all(seeds: Sequence[int], jobs: int, keep: Path | None) -> list[str]:
    """Run all cases on some processes; one that dies is gone on with behind the case that killed it."""
    failures: list[str] = []
    # Pictures as small as these take longer on several threads than on one.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as scratch:
        templates = Path(scratch, "templates")
        make_templates(templates)
        parts = [list(seeds[n::jobs]) for n in range(jobs)]
        logs = [Path(scratch, f"log{n}") for n in range(jobs)]
        processes: list[Any] = [None] * jobs
        done = 0
        while any(parts) or any(processes):
            for n in range(jobs):
                process = processes[n]
                if process is not None:
                    process.join(1.0)
                    if process.is_alive():
                        continue
                    lines = logs[n].read_text().splitlines()
                    ended = {
                        int(line.split()[1]): line.split(maxsplit=2)[2:]
                        for line in lines
                        if line.startswith("end")
                    }
                    began = [int(line.split()[1]) for line in lines if line.startswith("begin")]
                    for seed in began:
                        what = ended.get(seed, [f"the process died: {process.exitcode}"])
                        if what and what[0]:
                            failures.append(
                                what[0] if what[0].startswith(str(seed)) else f"{seed}: {what[0]}"
                            )
                            print(failures[-1], flush=True)
                    done += len(began)
                    parts[n] = parts[n][len(began) :]
                    logs[n].unlink()
                    processes[n] = None
                    print(f"{done} of {len(seeds)}, {len(failures)} failed", flush=True)
                if parts[n] and processes[n] is None:
                    chunk = parts[n][:250]
                    processes[n] = multiprocessing.get_context("spawn").Process(
                        target=work, args=(chunk, templates, keep, logs[n])
                    )
                    processes[n].start()
    return failures


def main() -> int:
    """Run the cases that are asked for; the status is 1 where one fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="*", default=[], help="seeds of cases to run again")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for what fails")
    given = parser.parse_args()
    seeds = given.only or range(given.seed * 1_000_000, given.seed * 1_000_000 + given.count)
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    failures = run_all(list(seeds), given.jobs, given.keep)
    kinds = Counter(re.sub(r"\d+", "N", line.partition(": ")[2])[:120] for line in failures)
    for kind, count in kinds.most_common(40):
        print(f"{count:5d} x {kind}")
    print(f"{len(seeds)} cases, {len(failures)} failed")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
