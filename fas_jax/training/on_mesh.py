"""The steps of `steps.py` on a mesh, compiled once and kept: the next chunk of runs compiles nothing."""

from functools import cache, partial
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from fas_jax.models.architecture import Architecture, Params
from fas_jax.runtime import devices
from fas_jax.training import steps
from fas_jax.training.steps import Clips, Form


@cache
def draw(architecture: Architecture, mesh: Mesh) -> Any:
    """Fresh parameters from the data of PRNG keys."""

    def each(keys: Any) -> Params:
        return jax.lax.map(lambda key: architecture.init(jax.random.wrap_key_data(key)), keys)

    return devices.parallel(each, mesh, (devices.BY_RUN,), devices.BY_RUN)


@cache
def fresh(mesh: Mesh) -> Any:
    """`steps.fresh` on a mesh."""
    return jax.jit(steps.fresh, out_shardings=NamedSharding(mesh, devices.BY_RUN))


@cache
def train(architecture: Architecture, form: Form, mesh: Mesh, mapping: devices.Mapping) -> Any:
    """`steps.train` on a mesh."""
    return devices.parallel(
        partial(steps.train, architecture, form),
        mesh,
        (devices.BY_RUN, _clips_spec(form), devices.BY_RUN, devices.BY_RUN, order_spec(form)),
        devices.BY_RUN,
        mapping=mapping,
        donate=(0,),
        options=None if form.one_by_one else _side_by_side_options(),
    )


@cache
def validate(architecture: Architecture, form: Form, mesh: Mesh, mapping: devices.Mapping) -> Any:
    """`steps.validate` on a mesh."""
    return devices.parallel(
        partial(steps.validate, architecture, form),
        mesh,
        (devices.BY_RUN, _clips_spec(form), order_spec(form)),
        devices.BY_RUN,
        mapping=mapping,
    )


def order_spec(form: Form) -> Any:
    """How the order of batches lies on the mesh."""
    return devices.BY_ROW if form.same_rows else devices.BY_ROW_AND_RUN


def _clips_spec(form: Form) -> Any:
    return Clips._make((devices.BY_RUN if form.own_clips else devices.SAME, devices.SAME, devices.SAME))


def _side_by_side_options() -> dict[str, str] | None:
    # XLA's own way to multiply many small matrices; that of YNNPACK, its default on a CPU, takes a fourth longer for a
    # step of 20 runs of GRU-20 (jaxlib 0.10.2). Large ones YNNPACK does better.
    return {"xla_cpu_experimental_ynn_fusion_type": ""} if jax.default_backend() == "cpu" else None
