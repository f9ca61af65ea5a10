"""Random search over algorithms and hyper-parameters."""

from fas_jax.base.settings import Experiment
from fas_jax.runtime import cli


def main(settings: Experiment) -> None:
    """Searches algorithms and hyper-parameters at random (--search....), by cross-validation within the sources.

    Tables, a figure of what mattered and ready settings for scripts/train.py go to RUN/search/PROTOCOL. The target is
    not read. An interrupted search goes on, and one with more --search.trials adds to what is there.
    """
    from fas_jax import experiment
    from fas_jax.runtime import devices

    folders = experiment.search(settings)
    for folder in folders if devices.is_first() else ():
        print((folder / "search.md").read_text(encoding="utf-8"))
        print(f"All of it is in {folder}.")


if __name__ == "__main__":
    cli.experiment_main(main, "configs/quickstart.toml")
