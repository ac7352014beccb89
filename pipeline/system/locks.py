"""One run at a time writes into a folder; who holds it stands in a file there.

The system's own file lock decides on one machine: it goes with its process, however that dies. Where
machines share a folder and do not share locks, the file's sign of life does: its holder touches it
every few seconds, and a file that nobody has touched for minutes belongs to nobody.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError, DataError

NAME = ".running"
LIFE_S = 20.0  # from one sign of life to the next
DEAD_S = 120.0  # without one
POLL_S = 0.5
HELD = {errno.EWOULDBLOCK, errno.EACCES}


@contextmanager
def hold(
    folders: Sequence[Path], wait: bool = False, say: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Hold folders, all or none, while the block runs.

    Raises
    ------
    ConfigError
        a folder that another run holds, and which; with `wait` it is waited for instead, which is said once.
    """
    with ExitStack() as stack:
        ordered = sorted(set(folders))  # one order, so that two runs cannot wait for each other
        held = [stack.enter_context(_hold_one(folder, wait, say)) for folder in ordered]
        done = threading.Event()
        pulse = threading.Thread(target=_pulse, args=(held, done), daemon=True)
        pulse.start()
        try:
            yield
        finally:
            done.set()
            pulse.join()


def is_held(folder: Path) -> bool:
    """Tell whether a run is writing into a folder: it lives on this machine, or was seen alive on another."""
    path = folder / NAME
    try:
        holder, age_s = json.loads(path.read_text(encoding="utf-8")), time.time() - path.stat().st_mtime
    except (OSError, ValueError):
        return False
    return _alive_here(holder) if holder.get("host") == platform.node() else age_s < DEAD_S


@contextmanager
def _hold_one(folder: Path, wait: bool, say: Callable[[str], None]) -> Iterator[Path]:
    path = folder / NAME
    descriptor = _take(path)
    if descriptor is None and wait:
        say(f"waiting: {_holder(path)}")
        while descriptor is None:
            time.sleep(POLL_S)
            descriptor = _take(path)
    if descriptor is None:
        raise ConfigError(f"{_holder(path)}; wait for its end, add --wait, or choose another --output")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: Path) -> int | None:
    """Return the descriptor of the lock file once it is ours, None while another run holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}; free space? rights?") from error
    try:
        if _locked(descriptor) and _same_file(descriptor, path) and not _alive_elsewhere(descriptor, path):
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_me()).encode(), 0)
            return descriptor
    except OSError as error:
        os.close(descriptor)
        raise DataError(f"{path}: cannot be locked: {error.strerror}; free space? rights?") from error
    os.close(descriptor)
    return None


def _locked(descriptor: int) -> bool:
    """Lock a file; where the file system knows no locks, its content has to do."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise
        return not _alive_here(_read(descriptor))
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    """Tell whether the path still leads to the locked file: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _alive_elsewhere(descriptor: int, path: Path) -> bool:
    """Tell whether a run on another machine has given a sign of life lately, by the folder's own clock."""
    holder = _read(descriptor)
    if not holder or holder.get("host") == platform.node():
        return False
    probe = path.with_name(f"{NAME}-clock-{os.getpid()}")
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink(missing_ok=True)
    return now - os.fstat(descriptor).st_mtime < DEAD_S


def _alive_here(holder: dict[str, Any]) -> bool:
    if not holder or holder.get("host") != platform.node():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except (ProcessLookupError, ValueError, KeyError):
        return False
    except PermissionError:
        return True
    return True


def _me() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": os.getpid(), "since": since}


def _read(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _holder(path: Path) -> str:
    """Say who holds a folder."""
    holder: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        holder = json.loads(path.read_text(encoding="utf-8"))
    who = (
        f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        if {"pid", "host", "since"} <= holder.keys()
        else "another process"
    )
    here = not holder or holder.get("host") == platform.node()
    hint = "" if here else f" (if that run is dead, {path} counts as left {DEAD_S:.0f} s after its last sign)"
    return f"{path.parent}: another run is writing here, {who}{hint}"


def _pulse(paths: Sequence[Path], done: threading.Event) -> None:
    while not done.wait(LIFE_S):
        for path in paths:
            with suppress(OSError):
                os.utime(path)
