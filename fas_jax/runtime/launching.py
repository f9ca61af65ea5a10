"""Several processes of one job, which start and end together. Imports no JAX.

Under Slurm, Open MPI or on a TPU pod a process finds the others by what the scheduler put into its environment. On one
machine `launch` starts them. Elsewhere three variables tell each process about the job, and `devices.join` reads them:
`FAS_JAX_COORDINATOR` (HOST:PORT of the first process, or `auto` where JAX can find the rest), `FAS_JAX_PROCESSES` (how
many) and `FAS_JAX_PROCESS` (which of them, from 0). `FAS_JAX_PROCESSES=1` alone says that a process works by itself,
whatever a scheduler says.
"""

import collections
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO

from fas_jax.base.errors import UserError
from fas_jax.runtime.interruption import STOPPING

COORDINATOR, PROCESSES, PROCESS = "FAS_JAX_COORDINATOR", "FAS_JAX_PROCESSES", "FAS_JAX_PROCESS"
# Time for the others to end by themselves after one has failed.
_GRACE_SECONDS = 5.0
_LAST_LINES = 12


def is_launched() -> bool:
    """Whether this process belongs to a job of several."""
    return COORDINATOR in os.environ or bool(scheduler(os.environ))


def scheduler(environment: Mapping[str, str]) -> str:
    """Who started this process as one of several, by the variables that JAX reads; empty where nobody did.

    A batch script of Slurm is one process, however many tasks it asked for: only `srun` starts steps.
    """
    if environment.get(PROCESSES) == "1":
        return ""
    if "SLURM_STEP_NODELIST" in environment and _several(environment, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
        return "Slurm"
    if _several(environment, "OMPI_COMM_WORLD_SIZE"):
        return "Open MPI"
    if "," in environment.get("TPU_WORKER_HOSTNAMES", ""):
        return "a TPU pod"
    return ""


def _several(environment: Mapping[str, str], *variables: str) -> bool:
    """Whether the first of these variables that is set is a number above 1."""
    known = next((environment[each] for each in variables if each in environment), "")
    return known.isdigit() and int(known) > 1


def launch(command: Sequence[str], processes: int) -> int:
    """Runs `processes` copies of a command as one job, and returns its exit code.

    It prints their output line by line, each line after its process's number, and passes SIGTERM, SIGUSR1 and SIGINT on
    to all of them. When one fails, it gives the others a few seconds to end, kills those that remain, and prints which
    process failed, and how. On a machine with NVIDIA GPUs each process sees its share of them.

    Raises:
        UserError: The processes cannot share the GPUs evenly, or the command cannot be started.
    """
    if processes < 1 or not command:
        raise UserError("give the number of processes and, after --, the command: --processes 2 -- python SCRIPT ...")
    environments = _environments(os.environ, processes)
    jobs: list[_Process] = []
    ended: queue.Queue[_Process] = queue.Queue()
    sent: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        sent.append(number)
        for job in jobs:
            job.send(number)

    before = {number: signal.signal(number, pass_on) for number in (*STOPPING, signal.SIGINT)}
    try:
        for index, environment in enumerate(environments):
            jobs.append(_Process(index, command, environment, ended))
        lost = _wait(len(jobs), ended)
    finally:
        for job in jobs:
            job.end()
        for number, handler in before.items():
            signal.signal(number, handler)
    if lost is None:
        return 0
    if not (sent and lost.code in (-sent[0], 128 + sent[0])):
        _tell(lost, processes)
    return 128 - lost.code if lost.code < 0 else lost.code


class _Process:
    """One of the processes, in its own process group together with all that it starts."""

    def __init__(
        self, index: int, command: Sequence[str], environment: Mapping[str, str], ended: "queue.Queue[_Process]"
    ) -> None:
        self.index = index
        self.last: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        try:
            self._popen = subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(f"cannot run {command[0]}: {error.strerror}") from error
        out, errors = self._popen.stdout, self._popen.stderr
        assert out is not None
        assert errors is not None
        self._readers = [
            threading.Thread(target=self._read, args=(out, sys.stdout, None), daemon=True),
            threading.Thread(target=self._read, args=(errors, sys.stderr, self.last), daemon=True),
        ]
        for thread in (*self._readers, threading.Thread(target=self._note, args=(ended,), daemon=True)):
            thread.start()

    @property
    def code(self) -> int:
        """Its exit code, once it has ended; negative after a signal."""
        return int(self._popen.returncode)

    def send(self, number: int) -> None:
        """Sends a signal to the process if it still runs."""
        self._popen.send_signal(number)

    def end(self) -> None:
        """Kills the process if it still runs, and prints the rest of its output."""
        if self._popen.poll() is None:
            os.killpg(self._popen.pid, signal.SIGKILL)
        for thread in self._readers:
            thread.join(_GRACE_SECONDS)

    def _note(self, ended: "queue.Queue[_Process]") -> None:
        self._popen.wait()
        ended.put(self)

    def _read(self, source: IO[str], target: IO[str], last: collections.deque[str] | None) -> None:
        for line in source:
            # One write for each line keeps the lines of several processes apart.
            target.write(f"[{self.index}] {line.rstrip()}\n")
            target.flush()
            if last is not None:
                last.append(line.rstrip())


def _wait(count: int, ended: "queue.Queue[_Process]") -> _Process | None:
    """Waits until all have ended, or for some time after one has failed; returns the first that failed."""
    lost, deadline = None, float("inf")
    while count and time.monotonic() < deadline:
        try:
            # Short, so that signals are handled.
            job = ended.get(timeout=0.2)
        except queue.Empty:
            continue
        count -= 1
        if job.code and lost is None:
            lost, deadline = job, time.monotonic() + _GRACE_SECONDS
    return lost


def _tell(lost: _Process, processes: int) -> None:
    how = f"killed by {signal.Signals(-lost.code).name}" if lost.code < 0 else f"it exited with code {lost.code}"
    print(
        f"process {lost.index} of {processes} (counted from 0) was lost: {how}; all processes of the job were ended",
        file=sys.stderr,
    )
    if lost.last:
        print("\n    ".join(["its last lines:", *lost.last]), file=sys.stderr)
    print("run the same command again to go on", file=sys.stderr, flush=True)


def _environments(environment: Mapping[str, str], processes: int) -> list[dict[str, str]]:
    """The environment of each process, with its share of the GPUs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    gpus = _gpus(environment)
    if len(gpus) % processes:
        raise UserError(
            f"{processes} processes cannot share {len(gpus)} GPUs evenly; choose another number, or a part of the "
            "GPUs by CUDA_VISIBLE_DEVICES, or none by JAX_PLATFORMS=cpu"
        )
    share = len(gpus) // processes
    common = {
        **environment,
        COORDINATOR: address,
        PROCESSES: str(processes),
        # Without it, the coordinator would listen on all network interfaces.
        "JAX_COORDINATOR_BIND_ADDRESS": address,
        "PYTHONUNBUFFERED": "1",
    }
    return [
        common
        | {PROCESS: str(index)}
        | ({"CUDA_VISIBLE_DEVICES": ",".join(gpus[index * share : (index + 1) * share])} if gpus else {})
        for index in range(processes)
    ]


def _gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs that JAX would use, by number or name."""
    if not {"", "cuda", "gpu"} & set(environment.get("JAX_PLATFORMS", "").split(",")):
        return []
    if (chosen := environment.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name]
    if not (program := shutil.which("nvidia-smi")):
        return []
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return [str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]
