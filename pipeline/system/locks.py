"""Locks: one run at a time writes into a folder; a file in that folder names the holder.

On one machine the system's file lock decides: it is released when its process ends, however that happens.
Machines that share a folder may not share locks. There the modification time of the file decides: its holder
touches it every few seconds, and a file that has not been touched for minutes is abandoned.
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

NAME = ".running"  # lock file in the folder
LIFE_S = 20.0  # seconds between two touches of the lock file
DEAD_S = 120.0  # seconds without a touch after which a lock of another machine is abandoned
POLL_S = 0.5  # seconds between two attempts while waiting for a lock
LONGEST = 4096  # bytes of a lock file that are read
HELD = {errno.EWOULDBLOCK, errno.EACCES}  # flock: another process holds the lock


@contextmanager
def hold(
    folders: Sequence[Path], wait: bool = False, say: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Hold the locks of folders, all or none, while the block runs.

    Parameters
    ----------
    folders : sequence of Path
        Folders to lock; missing ones are created.
    wait : bool
        Wait for a folder that another run holds.
    say : callable
        Receives one line when the wait begins.

    Yields
    ------
    None
        While the locks are held.

    Raises
    ------
    ConfigError
        Where another run holds a folder and `wait` is false; the message names that run.
    DataError
        Where the lock file cannot be written or locked.
    """
    with ExitStack() as stack:
        ordered = sorted(set(folders))  # a fixed order prevents deadlocks
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
    """Check whether a run is writing into a folder.

    Parameters
    ----------
    folder : Path
        Output folder.

    Returns
    -------
    bool
        True where the holder's process lives on this machine, or touched its lock lately on another.
    """
    path = folder / NAME
    try:
        holder, age_s = _parsed(path.read_bytes()), time.time() - path.stat().st_mtime
    except OSError:
        return False
    if not holder:
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
    """Return the descriptor of the lock file once it is locked, None while another run holds it."""
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
    """Lock a file; on file systems without locks, decide by the process that its content names."""
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
    """Check that the path still leads to the locked file: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _alive_elsewhere(descriptor: int, path: Path) -> bool:
    """Check whether a run on another machine touched the lock lately, by the clock of the file system."""
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
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 0:  # kill takes 0 and below for groups of processes
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _me() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": os.getpid(), "since": since}


def _read(descriptor: int) -> dict[str, Any]:
    return _parsed(os.pread(descriptor, LONGEST, 0))


def _parsed(content: bytes) -> dict[str, Any]:
    """Return what a lock file says of its holder; empty where it is not as this module writes it."""
    try:
        found = json.loads(content[:LONGEST])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _holder(path: Path) -> str:
    """Describe the holder of a folder for a message."""
    holder: dict[str, Any] = {}
    with suppress(OSError):
        holder = _parsed(path.read_bytes())
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
