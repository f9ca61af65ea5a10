"""Starts several processes of one job."""

from functools import partial
from typing import Annotated

import tyro

from fas_jax.runtime import cli
from fas_jax.runtime.launching import launch


def main(command: Annotated[tuple[str, ...], tyro.conf.Positional], processes: int) -> int:
    """Starts a command several times on this machine, as one job: train.py, run.py, search.py or extract.py.

    The processes share the work, each with its own devices (its share of the NVIDIA GPUs), and see the same folders.
    SIGTERM and Ctrl-C reach all of them. When one is lost, this script ends the others within seconds and names the one
    that was lost; the same command, started again, continues from the last checkpoint.

    On several machines, start the command itself once for each process, with FAS_JAX_COORDINATOR=HOST:PORT (of the
    first process), FAS_JAX_PROCESSES (their number) and FAS_JAX_PROCESS (counted from 0) in its environment; under
    Kubernetes FAS_JAX_COORDINATOR=auto is enough. What srun, Open MPI 4 or a TPU pod starts needs none of these.

    Args:
        command: The command, after --.
        processes: Number of processes.
    """
    return launch(command, processes)


command = partial(cli.main, main)
