"""Measures how training meets classes of unequal size: the evidence behind training.balance."""

from dataclasses import replace

import numpy as np

from fas_jax.base.settings import Training
from fas_jax.evaluation import metrics
from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.runtime import cli, devices
from fas_jax.training import fitting
from fas_jax.training.fitting import Clips, Run
from fas_jax.training.sampling import Balance

BALANCES: tuple[Balance, ...] = ("none", "sampling", "weights", "both")


def main(
    attacks_per_bona_fide: tuple[float, ...] = (1, 4, 100, 1000),
    clips: int = 4000,
    seeds: int = 5,
    epochs: int = 15,
    learning_rate: float = 1e-3,
) -> None:
    """Trains GRUs on overlapping Gaussian clips of unequal classes and tests them on equal ones.

    Args:
        attacks_per_bona_fide: Ratios to try.
        clips: Training clips; as many again are half validated on and half tested on.
        seeds: Of data, weights and order.
        epochs: Of every run.
        learning_rate: Of Adam.
    """
    devices.use_cores()
    print("| attacks : bona fide | balance | AUC % | HTER at 0.5 % | HTER at validation EER % | failed runs |")
    print("|---|---|---|---|---|---|")
    for ratio in attacks_per_bona_fide:
        data = [_clips(clips, ratio, seed) for seed in range(seeds)]
        whole = Clips(*(np.concatenate(parts) for parts in zip(*data, strict=True)))
        size = 2 * clips
        runs = [
            Run(f"seed {seed}", seed, seed * size + np.arange(clips), seed * size + np.arange(clips, clips * 3 // 2))
            for seed in range(seeds)
        ]
        rows = [seed * size + np.arange(clips, size) for seed in range(seeds)]
        for balance in BALANCES:
            settings = replace(
                Training(max_epochs=epochs, validate_every=1, patience=epochs, monitor="loss"),
                balance=balance,
                learning_rate=learning_rate,
            )
            architecture = RecurrentClassifier("gru", whole.features.shape[-1], 20, "he")
            fitted = fitting.fit(architecture, runs, whole, settings, title=f"1:{ratio:g} {balance}")
            predicted = fitting.predict(architecture, fitted.params, whole, rows)
            scores = [each.probabilities for each in predicted]
            found = [
                _figures(own.mean(1), np.asarray(whole.labels)[row]) for own, row in zip(scores, rows, strict=True)
            ]
            mean, std = 100 * np.mean(found, 0), 100 * np.std(found, 0, ddof=1)
            cells = [f"{m:.1f} ± {s:.1f}" for m, s in zip(mean, std, strict=True)]
            print(f"| {ratio:g} : 1 | {balance} | {' | '.join(cells)} | {(fitted.failed > 0).sum()} |", flush=True)


def _clips(count: int, ratio: float, seed: int) -> Clips:
    """Training clips of unequal classes, then as many of equal ones; bona fide is shifted a little."""
    rng = np.random.default_rng(seed)
    rare = max(1, round(count / (1 + ratio)))
    labels = np.concatenate([np.arange(count) < rare, np.arange(count) % 2]).astype(np.int32)
    features = rng.normal(size=(2 * count, 4, 16)).astype(np.float32) + 0.25 * labels[:, None, None]
    return Clips(features.astype(np.float32), np.ones((2 * count, 4), bool), labels)


def _figures(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    half = len(scores) // 2
    held, held_labels, scores, labels = scores[:half], labels[:half], scores[half:], labels[half:]
    threshold = metrics.eer_threshold(held, held_labels)

    def hter(tau: float) -> float:
        return float((np.mean(scores[labels == 0] >= tau) + np.mean(scores[labels == 1] < tau)) / 2)

    return metrics.auc(scores, labels), hter(0.5), hter(threshold)


if __name__ == "__main__":
    cli.main(main)
