"""Processes that a scheduler started find each other by its variables, and none of ours."""

import os
import socket
import subprocess

import pytest

from fas_jax.runtime.launching import scheduler
from tests import background
from tests.background import ended

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
}
PROGRAM = """
from fas_jax.runtime import cli
def main() -> None:
    import jax
    from jax.experimental import multihost_utils
    print("place", jax.process_index(), "of", jax.process_count(), flush=True)
    assert multihost_utils.process_allgather(jax.numpy.array([jax.process_index()])).tolist() == [[0], [1]]
cli.main(main, several=True)
"""


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, ""),
        (SLURM, "Slurm"),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, ""),  # srun --ntasks=1 in a job of two tasks
        (SLURM | {"FAS_JAX_PROCESSES": "1"}, ""),
        ({name: value for name, value in SLURM.items() if "STEP" not in name}, ""),  # the batch script itself
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "Open MPI"),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, ""),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "a TPU pod"),
        ({"TPU_WORKER_HOSTNAMES": "a"}, ""),
    ],
)
def test_a_scheduler_is_known_by_what_it_sets(environment, name):
    assert scheduler(environment) == name


def ran(place: int, **environment: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMPI", "FAS_JAX"))}
    own = {"SLURM_PROCID": str(place), "SLURM_LOCALID": str(place)}
    return background.start("-c", PROGRAM, env=clean, **own | environment)


def free_job() -> str:
    """A job number from which JAX makes a port that is free."""
    for number in range(4711, 4811):
        with socket.socket() as trial:
            if trial.connect_ex(("localhost", number % 2**12 + 2**16 - 2**12)):
                return str(number)
    raise AssertionError("no port is free")


def test_two_processes_of_an_imitated_slurm_step_work_together():
    own = {name: value for name, value in SLURM.items() if name not in ("SLURM_PROCID", "SLURM_LOCALID")}
    own["SLURM_JOB_ID"] = free_job()
    processes = [ran(place, **own) for place in range(2)]
    for place, process in enumerate(processes):
        output, _ = ended(process)
        assert f"place {place} of 2" in output


def test_open_mpi_that_jax_cannot_read_is_said_with_a_way_out():
    process = ran(0, OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="0")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Open MPI started this process as one of several" in errors
    assert "FAS_JAX_PROCESSES=1" in errors
