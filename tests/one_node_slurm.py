"""A SLURM of this one machine: munge, controller and one node on loopback, started as root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

COMMANDS = ("setpriv", "munged", "slurmctld", "slurmd", "sbatch", "sinfo", "squeue", "scancel")
MUNGE_FILES = ("socket", "key-file", "pid-file", "log-file", "seed-file")
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))  # daemons are kept apart on Debian
START_S = 30.0  # seconds until the node is idle; usually one
STOP_S = 15.0  # seconds for jobs to end, and for each daemon

# Neither cgroups nor an accounting database, which a container may lack; two slots whatever the machine has.
# Jobs are ended by process group: a tree of processes loses those of a job whose shell has ended.
SLURM_CONF = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
KillWait=5
SchedulerParameters=sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=here Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing_command() -> str | None:
    """Return the first command of SLURM or munge that is not installed; None where all are."""
    return next((name for name in COMMANDS if shutil.which(name, path=PATH) is None), None)


@contextmanager
def one_node_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start SLURM and stop it at the end of the block, jobs first.

    Parameters
    ----------
    folder : Path
        Empty folder for everything that the daemons write. Its path is short: munge's socket lies in it, and
        the path of a socket has at most 107 characters.

    Yields
    ------
    dict of str to str
        Environment in which SLURM's commands reach it.

    Raises
    ------
    RuntimeError
        Where a daemon ends, or the node is not idle in time.
    """
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
    _write_files(folder)
    with ExitStack() as stack:
        munge = [f"--{name}={folder}/munge.{name.partition('-')[0]}" for name in MUNGE_FILES]
        words = (["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"], ["slurmd", "-D"])
        daemons = {each[0]: stack.enter_context(_daemon(folder, environment, each)) for each in words}
        stack.callback(_end_jobs, environment)
        deadline = time.monotonic() + START_S
        while _output(environment, "sinfo", "-h", "-o", "%t") != "idle":
            ended = [name for name, daemon in daemons.items() if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(_last_words(folder, ended or ["slurmd", "slurmctld"]))
            time.sleep(0.1)
        yield environment


def running_jobs(environment: dict[str, str]) -> list[str]:
    """Return the ids of the jobs that run; RuntimeError with the words of squeue where it fails."""
    done = _called(environment, "squeue", "-h", "-t", "RUNNING", "-o", "%i")
    if done.returncode != 0:
        raise RuntimeError(f"squeue ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.split()


def _write_files(folder: Path) -> None:
    host = socket.gethostname().partition(".")[0]
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        ports = {"controller_port": one.getsockname()[1], "node_port": other.getsockname()[1]}
    (folder / "slurm.conf").write_text(SLURM_CONF.format(host=host, folder=folder, **ports))
    (folder / "cgroup.conf").write_text(f"CgroupPlugin={_cgroup_plugin()}\n")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").touch(0o600)
    (folder / "munge.key").write_bytes(os.urandom(1024))


def _cgroup_plugin() -> str:
    """Return the plugin that starts without any cgroup: older versions know no "disabled"."""
    version = subprocess.run(
        ["slurmd", "-V"], env=os.environ | {"PATH": PATH}, capture_output=True, text=True
    )
    return "disabled" if int(version.stdout.split()[-1].partition(".")[0]) >= 24 else "cgroup/v1"


@contextmanager
def _daemon(folder: Path, environment: dict[str, str], words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon in the foreground, its log in a file named after it; it does not outlive this process."""
    tied = ["setpriv", "--pdeathsig", "TERM", *words]
    with (folder / f"{words[0]}.log").open("wb") as log:
        process = subprocess.Popen(tied, env=os.environ | environment, stdout=log, stderr=log, cwd=folder)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_jobs(environment: dict[str, str]) -> None:
    """Cancel all jobs while the daemons live: afterwards nobody would end their processes."""
    deadline = time.monotonic() + STOP_S
    _output(environment, "scancel", "--me")
    while _output(environment, "squeue", "-h") and time.monotonic() < deadline:
        time.sleep(0.1)


def _output(environment: dict[str, str], *words: str) -> str:
    """Return what a command prints; nothing where it fails, as while the daemons start and end."""
    return _called(environment, *words).stdout.strip()


def _called(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, check=False)


def _last_words(folder: Path, names: list[str]) -> str:
    lines = [(folder / f"{name}.log").read_text(errors="replace").splitlines()[-1:] for name in names]
    return "; ".join(line for found in lines for line in found)
