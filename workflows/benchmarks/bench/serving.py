"""A server of the benchmark: `ish serve` in a process of its own, on one core."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.http_load import get, load

COMMAND = (sys.executable, "-c", "from pipeline.cli import main; main()", "serve")
ROOT = Path(__file__).parents[3]  # of the checkout, whose code is served
CORES = sorted(os.sched_getaffinity(0))
SERVING, ASKING = CORES[0], CORES[-1]  # the cores of the server and of the client
END_S = 20.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running server.

    Parameters
    ----------
    port : int
    cache : folder
    start_s : float, s      from the start of the process to its address on the screen
    start_cpu_s : float, s  CPU time of that
    pid : int
    """

    port: int
    cache: Path
    start_s: float
    start_cpu_s: float
    pid: int

    def cpu_s(self) -> float:
        """Return the CPU time that the server has taken, s."""
        return _cpu_s(self.pid)

    def memory_mb(self) -> float:
        """Return the resident memory of the server, MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def message(self, path: str) -> Any:
        """Return `msg` of an answer, or the whole document where it has none."""
        document = orjson.loads(self.body(path))
        return document.get("msg", document)

    def body(self, path: str) -> bytes:
        """Return the body of one answer."""
        return load(self.port, [get(path)], at_once=1).first


@contextmanager
def serving(folders: Sequence[Path], cache: Path, *options: str) -> Iterator[Server]:
    """Serve folders on the first core until the block ends.

    Raises
    ------
    RuntimeError
        Where the server ends by itself.
    """
    words = [
        *COMMAND,
        *(str(f.resolve()) for f in folders),
        "--cache",
        str(cache.resolve()),
        "--port",
        "0",
        *options,
    ]
    environment = {k: v for k, v in os.environ.items() if k != "ISH_REFERENCE"}
    begun = time.perf_counter()
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT, preexec_fn=_on_one_core
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            took = time.perf_counter() - begun
            found = re.search(r"http://[^:]+:(\d+)/", line)
            if found is None:
                raise RuntimeError(f"expected an address of `ish serve`, got {line!r}")
            yield Server(int(found[1]), cache, took, _cpu_s(process.pid), process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _on_one_core() -> None:
    os.sched_setaffinity(0, {SERVING})
