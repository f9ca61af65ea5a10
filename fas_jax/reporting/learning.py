"""How the models of a run learned, from the histories kept beside their parameters. Imports no JAX."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open

from fas_jax.base.errors import UserError
from fas_jax.base.parameters import load_about

MODELS = "models"


@dataclass(frozen=True)
class History:
    """One training, validation by validation; values are NaN once it has ended."""

    model: str
    run: str
    """Protocol and seed, as `OCI_to_M seed 0`, or that without a fold."""
    best_epoch: int
    epoch: Float32[np.ndarray, " k"]
    train_loss: Float32[np.ndarray, " k"]
    validation_loss: Float32[np.ndarray, " k"]
    validation_accuracy: Float32[np.ndarray, " k"]


def read_histories(run: Path) -> tuple[History, ...]:
    """Histories of the models that a run keeps, without those of the folds' models; none if there are no files."""
    found: list[History] = []
    for path in sorted((Path(run) / MODELS).glob("*.safetensors")):
        try:
            about = load_about(path)
            with safe_open(path, "numpy") as file:
                parts = ("epoch", "train_loss", "validation_loss", "validation_accuracy")
                history = {name: file.get_tensor(f"history/{name}") for name in parts}
                best = file.get_tensor("best_epoch")
                names = [each["name"] for each in about["runs"]]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UserError(f"{path} is no finished model of this package: {error}") from error
        for number, name in enumerate(names):
            if " without fold " not in name:
                losses = {part: history[part][:, number] for part in parts[1:]}
                found.append(History(about["model"], name, int(best[number]), history["epoch"], **losses))
    return tuple(found)


def without_left(histories: Sequence[History], methods: Collection[str], left: Collection[str]) -> tuple[History, ...]:
    """The histories that are not of methods which have left the run.

    Args:
        histories: From `read_histories`. A network of a method is called as the method is, or has a name of its own
            behind that and a hyphen, such as patches-low; it counts as that of the longest such name.
        methods: The names of the run's methods.
        left: The names of those that left it.
    """
    names = [*methods, *left]

    def owner(model: str) -> str:
        return max((each for each in names if model == each or model.startswith(f"{each}-")), key=len, default="")

    return tuple(each for each in histories if owner(each.model) not in left)
