"""Face presentation-attack detection on JAX; docs/library.md shows the package from Python.

Names are imported when they are first used: `import fas_jax` itself imports neither JAX nor NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fas_jax.base.errors import UserError
from fas_jax.base.versions import VERSION

if TYPE_CHECKING:
    from fas_jax.base.rendition import Rendition
    from fas_jax.base.settings import Preparation
    from fas_jax.deployment.verdict import Verdict
    from fas_jax.experiment.configuration import Experiment
    from fas_jax.library.bundles import Bundle, Verdicts, load_bundle
    from fas_jax.library.evaluations import Evaluation, evaluate_scores
    from fas_jax.library.experiments import Dataset, Run, load_experiment, open_run, prepare, train
    from fas_jax.pixels.gate.settings import Gate
    from fas_jax.runtime.devices import use_cores
    from fas_jax.runtime.programs import keep_programs
    from fas_jax.synthetic.sample import render_sample

__version__ = VERSION

__all__ = [
    "Bundle",
    "Dataset",
    "Evaluation",
    "Experiment",
    "Gate",
    "Preparation",
    "Rendition",
    "Run",
    "UserError",
    "Verdict",
    "Verdicts",
    "__version__",
    "evaluate_scores",
    "keep_programs",
    "load_bundle",
    "load_experiment",
    "open_run",
    "prepare",
    "render_sample",
    "train",
    "use_cores",
]

_PLACES = {
    "base.rendition": ("Rendition",),
    "base.settings": ("Preparation",),
    "deployment.verdict": ("Verdict",),
    "experiment.configuration": ("Experiment",),
    "library.bundles": ("Bundle", "Verdicts", "load_bundle"),
    "library.evaluations": ("Evaluation", "evaluate_scores"),
    "library.experiments": ("Dataset", "Run", "load_experiment", "open_run", "prepare", "train"),
    "pixels.gate.settings": ("Gate",),
    "runtime.devices": ("use_cores",),
    "runtime.programs": ("keep_programs",),
    "synthetic.sample": ("render_sample",),
}


def __getattr__(name: str) -> Any:
    """A public name, imported now; Python calls this for what the module does not hold yet (PEP 562)."""
    for place, names in _PLACES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{place}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
