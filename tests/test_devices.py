"""How many devices a process makes of its cores, and how runs are divided among them."""

import os
import subprocess
import sys

import pytest

from fas_jax.base.processes import core_count


def told(code: str, **environment: str) -> list[str]:
    """What a fresh process prints."""
    names = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, check=True, capture_output=True, text=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, min(4, core_count())),
        ({"JAX_NUM_CPU_DEVICES": "3"}, 3),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=5"}, 5),
        ({"FAS_JAX_COORDINATOR": "127.0.0.1:1"}, 1),
    ],
)
def test_a_process_makes_devices_of_its_cores_unless_it_is_told_otherwise(environment, count):
    code = "import jax; from fas_jax.runtime import devices; devices.use_cores(); print(jax.device_count())"
    assert told(code, JAX_PLATFORMS="cpu", **environment) == [str(count)]


def test_cores_share_runs_and_no_batch():
    code = """
from fas_jax.runtime import devices
for runs in (1, 2, 5, 19, 20):
    print(*devices.make_mesh(runs, 32).devices.shape)
print(*devices.make_mesh(2, 32, run_devices=2).devices.shape)
"""
    found = told(code, JAX_PLATFORMS="cpu", JAX_NUM_CPU_DEVICES="4")
    shapes = list(zip(found[::2], found[1::2], strict=True))
    assert shapes == [("1", "1"), ("2", "1"), ("3", "1"), ("4", "1"), ("4", "1"), ("2", "2")]
