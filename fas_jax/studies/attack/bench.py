"""How often attacks on a detector succeed, and how well the entropy of its response detects them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, UInt8

from fas_jax.base.errors import UserError
from fas_jax.evaluation import metrics
from fas_jax.studies.attack.perturbing import KINDS, Attacker, Kind

FLAGGED = 0.05
"""Share of the clips as they are that the defence may refuse: its limit is this quantile of their entropies."""


class Clip(NamedTuple):
    """A clip that the detector decides rightly as it is."""

    name: str
    bona_fide: bool
    frames: UInt8[np.ndarray, "t h w 3"]


@dataclass(frozen=True)
class Measured:
    """One kind of attack at one strength on all attack clips, or on all bona fide ones."""

    kind: Kind
    strength: int
    """Grey levels of 255."""
    bona_fide: bool
    """Whose clips were perturbed: attacks, to be accepted, or bona fide ones, to be rejected."""
    won: Bool[np.ndarray, " n"]
    """Where the decision is the wrong one."""
    entropies: Float64[np.ndarray, " n"]
    """Of the perturbed clips, in bits."""
    clean: Float64[np.ndarray, " m"]
    """Of all clips as they are."""

    @property
    def limit(self) -> float:
        """The entropy above which the defence refuses a clip."""
        return float(np.quantile(self.clean, 1 - FLAGGED, method="higher"))

    @property
    def success(self) -> float:
        """Share of the perturbed clips whose decision is the wrong one."""
        return float(self.won.mean())

    @property
    def unnoticed(self) -> float:
        """The same, where a clip above the limit is refused."""
        return float((self.won & (self.entropies <= self.limit)).mean())

    @property
    def auc(self) -> float:
        """Chance that a perturbed clip has a higher entropy than a clip as it is; equal ones count as half."""
        return metrics.auc(*self._labelled())

    def roc(self) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        """Shares of clean and of perturbed clips above every limit, from none to all."""
        return metrics.roc(*self._labelled())

    def _labelled(self) -> tuple[Float64[np.ndarray, " k"], Int[np.ndarray, " k"]]:
        """Entropies as scores, of clips as they are (0) and perturbed (1)."""
        return np.concatenate([self.clean, self.entropies]), np.repeat([0, 1], [len(self.clean), len(self.entropies)])


def measure(
    attacker: Attacker,
    clips: Sequence[Clip],
    strengths: Sequence[int],
    kinds: Sequence[Kind] = KINDS,
    reverse: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Measured]:
    """Perturbs the attacks, and on demand the bona fide clips, by every kind at every strength.

    Args:
        attacker: Of the detector.
        clips: That it decides rightly, of both classes.
        strengths: Whole grey levels; 0 leaves the clips as they are.
        kinds: Of attacks.
        reverse: Whether bona fide clips are perturbed to be rejected, too.
        progress: Is called with what is begun.
    """
    progress(f"entropies of {len(clips)} clips")
    clean = np.array([attacker.entropy(each.frames) for each in clips])
    found = []
    for bona_fide in (False, True) if reverse else (False,):
        own = [each for each in clips if each.bona_fide == bona_fide]
        towards = -1 if bona_fide else 1
        for kind in kinds:
            for strength in strengths:
                progress(f"{kind} {strength} on {len(own)} {'bona fide clips' if bona_fide else 'attacks'}")
                frames = [attacker.perturbed(kind, each.frames, strength, towards) for each in own]
                accepted = np.array([attacker.logit(each) >= attacker.chain.threshold for each in frames])
                entropies = np.array([attacker.entropy(each) for each in frames])
                won = ~accepted if bona_fide else accepted
                found.append(Measured(kind, strength, bona_fide, won, entropies, clean))
    return found


def rightly_decided(attacker: Attacker, candidates: Iterable[Clip], count: int) -> list[Clip]:
    """The first clips that the detector decides rightly, attacks before bona fide ones; at most half of each.

    Raises:
        UserError: It rejects no attack, or accepts no bona fide clip.
    """
    found: dict[bool, list[Clip]] = {False: [], True: []}
    for clip in candidates:
        own = found[clip.bona_fide]
        if (
            len(clip.frames)
            and len(own) < count // 2
            and clip.bona_fide == (attacker.logit(clip.frames) >= attacker.chain.threshold)
        ):
            own.append(clip)
        if all(len(each) >= count // 2 for each in found.values()):
            break
    for bona_fide, own in found.items():
        if not own:
            said = "accepts no bona fide clip" if bona_fide else "rejects no attack"
            raise UserError(f"{attacker.chain.name} {said} as it is: there is nothing that an attack could change")
    return [*found[False], *found[True]]
