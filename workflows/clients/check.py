"""Real clients, unmodified: of the Allen Brain Atlas API against `ish serve`, and of what this project makes.

Renders small series of the phantom, runs them, serves them beside 2,100 data sets without runs, and has each
client, in an environment of its own, check what it receives against what this project's code reads from the
runs. With ISH_DATA, a second server shows the real reference and data sets. A client that cannot be installed
is skipped with the reason.

python workflows/clients/check.py [--only CLIENT …] [--keep FOLDER] [--cache FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from checking import FACTS, FAILED, PASSED, SKIPPED
from environments import Client, Unavailable, environment
from worlds import World, atlas, phantom

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".clients"
ISH = (sys.executable, "-c", "from pipeline.cli import main; main()")
START_S, SCRIPT_S = 120.0, 240.0  # most time for a server to start, and for a script
CLIENTS = (
    Client("allensdk", ("allensdk_client.py", "allensdk_space.py"), "3.11"),
    Client("abagen", ("abagen_client.py",), "3"),
    Client("atldld", ("atldld_client.py",), "3"),
    Client("zarr", ("zarr_client.py",), "3"),
    Client("brainglobe", ("brainglobe_client.py",), "3"),
    Client("r", ("r_forms.py",)),
    Client(
        "openseadragon",
        ("viewer_client.py",),
        package="openseadragon@6.1.1",
        file="openseadragon/build/openseadragon/openseadragon.min.js",
    ),
)
Outcomes = Counter[str]
Environments = Mapping[str, "Future[list[str]]"]


@contextmanager
def served(world: World, work: Path) -> Iterator[str]:
    """Serve a world on a free port for as long as the context lasts.

    Parameters
    ----------
    world : World
        What is served.
    work : Path
        Folder for the cache and the log of the server.

    Yields
    ------
    str
        Address of the server, without a slash at its end.

    Raises
    ------
    RuntimeError
        Where it does not start.
    """
    words = [*ISH, "serve", *map(str, world.folders), *world.options, "--port", "0"]
    log = work / f"serve-{world.kind}.log"
    with log.open("w", encoding="utf-8") as errors:
        server = subprocess.Popen(
            [*words, "--cache", str(work / f"cache-{world.kind}")],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    late = threading.Timer(START_S, server.kill)
    late.start()
    try:
        assert server.stdout is not None
        line = server.stdout.readline()  # one line, once it answers
        late.cancel()
        if " at http://" not in line:
            raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8')[-2000:]}")
        print(line.strip(), flush=True)
        yield line.partition(" at ")[2].split()[0].rstrip("/")
    finally:
        late.cancel()
        server.terminate()
        server.wait(20)


def told(world: World, base: str, work: Path) -> Path:
    """Write what clients are told of a world, and return the folder."""
    folder = work / f"facts-{world.kind}"
    for name, array in world.arrays.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    facts = {"kind": world.kind, "base": base, **world.facts}
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    return folder


def check(client: Client, start: list[str], given: Path, home: Path) -> Outcomes:
    """Run the scripts of a client, and print and count what they say.

    Parameters
    ----------
    client : Client
        The client.
    start : list of str
        From `environment`.
    given : Path
        Folder of what it is told.
    home : Path
        Home folder of the client, for its caches.

    Returns
    -------
    Counter of str
        Checks by outcome.
    """
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("PYTHONPATH", None)
    alone = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "MPLBACKEND": "agg"}
    counts: Outcomes = Counter()
    for script in client.scripts:
        words = [start[0], "-W", "ignore", str(HERE / script), str(given), *start[1:]]
        try:
            done = subprocess.run(
                words,
                env=kept | alone,
                cwd=home,
                capture_output=True,
                text=True,
                check=False,
                timeout=SCRIPT_S,
            )
            lines, errors, status = done.stdout.splitlines(), done.stderr, done.returncode
        except subprocess.TimeoutExpired:
            lines, errors, status = [], "", f"not done within {SCRIPT_S:.0f} s"
        here: Outcomes = Counter()
        for line in lines:
            outcome, _, about = line.partition(" ")
            if outcome in (PASSED, FAILED, SKIPPED):
                here[say(outcome, client.name, about)] += 1
        if status != 0:
            here[say(FAILED, client.name, f"{script}: {status}")] += 1
        if here[FAILED]:
            print(errors[-4000:], flush=True)
        counts += here
    return counts


def say(outcome: str, client: str, about: str) -> str:
    """Print one line, and return the outcome."""
    print(f"{outcome}  {client}: {about}", flush=True)
    return outcome


def check_all(world: World, environments: Environments, work: Path) -> Outcomes:
    """Have all clients check a world."""
    counts: Outcomes = Counter()
    with served(world, work) as base:
        given = told(world, base, work)
        for client in CLIENTS:
            if client.name not in environments:
                continue
            try:
                start = environments[client.name].result()
            except Unavailable as why:
                counts[say(SKIPPED, client.name, str(why))] += 1
                continue
            counts += check(client, start, given, work / f"home-{world.kind}-{client.name}")
    return counts


def main(options: argparse.Namespace, work: Path) -> int:
    """Prepare, serve and check; return 1 where a check failed."""
    began = time.perf_counter()
    counts: Outcomes = Counter()
    wanted = [client for client in CLIENTS if not options.only or client.name in options.only]
    with ThreadPoolExecutor(2) as pool:
        environments = {
            client.name: pool.submit(environment, client, options.cache, options.environments)
            for client in wanted
        }
        for make in (phantom, atlas):
            world = make(work)
            if world is None:
                print(f"{make.__name__}: ISH_DATA is not set: the real reference is left out")
                continue
            print(f"{world.kind}: prepared after {time.perf_counter() - began:.0f} s", flush=True)
            counts += check_all(world, environments, work)
    print(f"{time.perf_counter() - began:.0f} s in all")
    print(f"{counts[PASSED]} passed, {counts[FAILED]} failed, {counts[SKIPPED]} skipped")
    return 1 if counts[FAILED] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = [client.name for client in CLIENTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="CLIENT", help=", ".join(names))
    parser.add_argument("--keep", type=Path, help="folder for runs, caches and logs; default a temporary one")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="folder where clients are kept; default .clients"
    )
    parser.add_argument("--environments", type=Path, help="folder of environments that are there, by client")
    given = parser.parse_args()
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
        sys.exit(main(given, given.keep))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(main(given, Path(folder)))
