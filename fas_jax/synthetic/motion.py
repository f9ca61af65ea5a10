"""Smooth movements and events over time, as functions of the time in seconds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Wander:
    """A slow random movement: a few sinusoids."""

    amplitudes: Float64[np.ndarray, " k"]
    frequencies: Float64[np.ndarray, " k"]
    phases: Float64[np.ndarray, " k"]

    def at(self, time: float) -> float:
        # Called hundreds of times for each video: the ufunc itself starts three times as fast as np.sum.
        return float(np.add.reduce(self.amplitudes * np.sin(2 * np.pi * self.frequencies * time + self.phases)))


@dataclass(frozen=True)
class Events:
    """Short events (blinks, words), each a rise and fall of the given duration."""

    times: Float64[np.ndarray, " k"]
    duration: float

    def at(self, time: float) -> float:
        """0 outside of events, up to 1 in the middle of one."""
        if not len(self.times):
            return 0.0
        nearest = np.abs(self.times - time).min() / (self.duration / 2)
        return float(np.clip(1.6 * (1 - nearest), 0, 1))


def wander(rng: np.random.Generator, amplitude: float, fastest: float = 0.8) -> Wander:
    """A movement whose standard deviation is about `amplitude` and whose frequencies stay below `fastest` Hz."""
    frequencies = fastest * np.array([0.15, 0.35, 0.62, 1.0]) * rng.uniform(0.6, 1.0, 4)
    amplitudes = amplitude * np.array([1.0, 0.7, 0.4, 0.2]) * rng.uniform(0.5, 1.3, 4)
    return Wander(amplitudes, frequencies, rng.uniform(0, 2 * np.pi, 4))


def events(rng: np.random.Generator, every: float, duration: float, until: float = 30.0) -> Events:
    """Events at random times, on average one in `every` seconds."""
    gaps = rng.uniform(0.4 * every, 1.6 * every, max(2, int(2.5 * until / every)))
    return Events(np.cumsum(gaps) - rng.uniform(0, every), duration)
