"""Streams the same clips for some epochs, and prints this process's own memory in MB after each."""

import gc
from pathlib import Path

import numpy as np

from fas_jax.base.settings import Training
from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.training.fitting import Clips, Run, fit

COUNT = 60_000


class Zeros:
    """A source that takes no memory of its own."""

    shape = (COUNT, 8, 64)
    dtype = np.dtype(np.float16)

    def __getitem__(self, rows):
        return np.zeros((len(rows), *self.shape[1:]), np.float16)


def held(_):
    gc.collect()
    status = Path("/proc/self/status").read_text()
    print(int(status.split("RssAnon:")[1].split()[0]) / 1e3, flush=True)


if __name__ == "__main__":
    clips = Clips(Zeros(), np.ones((COUNT, 8), bool), np.arange(COUNT) % 2)
    order = np.random.default_rng(0).permutation(COUNT)
    runs = [Run(str(i), i, order[1000:], order[:1000]) for i in range(3)]
    settings = Training(batch_size=1024, max_epochs=8, patience=9, validate_every=1, resident_mb=1, part_mb=16)
    fit(RecurrentClassifier("gru", 64, 8, "he"), runs, clips, settings, watch=held)
