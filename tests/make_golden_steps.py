"""Makes golden/steps.npz with PyTorch: losses and parameters of fifty steps of each method.

python -m tests.make_golden_steps
"""

from functools import partial
from pathlib import Path

import numpy as np

from tests import step_cases
from tests.step_cases import DOMAINS, STEPS

GOLDEN = Path(__file__).parent / "golden" / "steps.npz"


def by_torch(name: str) -> dict[str, np.ndarray]:
    """What PyTorch finds, by `losses` and the paths of parameters and statistics."""
    from tests import torch_steps

    params, stats = step_cases.start(name)
    given = step_cases.flat({**params, "stats": stats})
    own = (partial(each, name) for each in (step_cases.batch, step_cases.masks, step_cases.rate))
    losses, found = torch_steps.train(name, given, *own, STEPS, DOMAINS)
    return {"losses": losses, **found}


if __name__ == "__main__":
    np.savez_compressed(
        GOLDEN,
        **{
            f"{name}/{place}": values.astype(np.float32)
            for name in step_cases.OBJECTIVES
            for place, values in by_torch(name).items()
        },
    )
