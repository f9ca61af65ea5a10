"""FLOPs of a program as XLA counts them."""

from collections.abc import Callable
from typing import Any

import jax


def flops_of(function: Callable[..., Any], *inputs: Any) -> float:
    """FLOPs of a function's program for these inputs, arrays or their shapes; NaN where XLA does not tell.

    The program is not compiled. The body of a loop counts once.
    """
    told = jax.jit(function).lower(*inputs).cost_analysis()
    return float((told or {}).get("flops", float("nan")))
