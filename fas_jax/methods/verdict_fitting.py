"""Fits verdicts over the scores of experts and scores clips with them, whichever experts have a score.

Each combination of experts has its own model, fitted on all clips that these experts have scored, whether or not others
have scored them too. Availability chooses the model, and no model splits on it. Both classes weigh the same within each
pattern of availability. If an expert cannot score a dataset that holds mostly attacks, the verdict therefore does not
learn that a missing score means an attack.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.base.errors import UserError
from fas_jax.base.logits import sigmoid
from fas_jax.methods.base import Detector, Failed, Job
from fas_jax.methods.data import Batch, Clips, Scores
from fas_jax.methods.inputs import Input
from fas_jax.methods.steps import Steps
from fas_jax.methods.verdict_settings import VerdictSettings

MOST_LOGIT = 50.0
"""Logits beyond this, on either side, count as this."""
_ONE_CLASS = "one of the classes is missing among the training clips that it has scored"


@dataclass(frozen=True)
class VerdictDetector:
    """Models by combination of experts, numbered by bits: expert i counts 2^i."""

    method: VerdictSettings
    params: Mapping[str, Any]
    """`usable` float64 [k], 1 where an expert takes part, and by `pattern-N` the arrays of a model."""
    about: dict[str, Any]
    """`without`: by expert, why it takes no part. `patterns`: by number of a combination, `by`, the number of the model
    that decides; and of that model `clips`, how many it was fitted on, `error` and `validation_error`, the mean of the
    shares of both classes that it gets wrong at P = 0.5, on these clips and on validation clips (None: undefined)."""

    def score(self, batch: Batch) -> Scores:
        """See `Detector.score`."""
        logits = self._logits(batch)
        found = np.full(len(logits), np.nan)
        patterns = patterns_of(logits)
        for pattern in np.unique(patterns[patterns > 0]).tolist():
            rows = patterns == pattern
            found[rows] = self._model(pattern, logits[rows], np)
        reasons = [self._reason(batch, row) if not pattern else "" for row, pattern in enumerate(patterns.tolist())]
        return Scores(sigmoid(found), None, reasons if any(reasons) else (), found)

    def apply(self) -> Callable[..., Any]:
        """See `Detector.apply`."""

        def score(params: Any, data: Mapping[Input, Any], mask: Mapping[Input, Any]) -> tuple[Any, None, Any]:
            import jax
            import jax.numpy as jnp

            named = jax.tree.map(lambda leaf: _narrow(jnp.asarray(leaf)), params)
            logits = jnp.stack([jnp.asarray(data[item], jnp.float32) for item in self.method.inputs()], 1)
            logits = jnp.where(named["usable"][None] > 0, jnp.clip(logits, -MOST_LOGIT, MOST_LOGIT), jnp.nan)
            here = ~jnp.isnan(logits)
            bits = jnp.asarray(2 ** np.arange(logits.shape[1]))
            patterns = jnp.sum(jnp.where(here, bits[None], 0), axis=1)
            found = jnp.full(len(logits), jnp.nan, jnp.float32)
            for number in self.about["patterns"]:
                own = VerdictDetector(self.method, named, self.about)._model(int(number), logits, jnp)
                found = jnp.where(patterns == int(number), own, found)
            return jax.nn.sigmoid(found), None, found

        return score

    def steps(self) -> Steps:
        """See `Causal.steps`: it remembers nothing, because the scores that it reads are those of the frames so far."""
        score = self.apply()

        def step(params: Any, carry: Any, data: Mapping[Input, Any]) -> tuple[Any, Any, None, Any]:
            return carry, *score(params, data, {})

        return Steps((), step)

    def rules(self) -> list[str]:
        """See `Explained.rules`."""
        found = [f"Without {name}: {why}" for name, why in self.about["without"].items()]
        for number, told in sorted(self.about["patterns"].items(), key=lambda each: (-int(each[0]).bit_count(), each)):
            names = self._names(int(number))
            if told["by"] != int(number):
                found.append(f"With {', '.join(names)}: the model of {', '.join(self._names(told['by']))} decides")
                continue
            found.append(
                f"With {', '.join(names)} ({told['clips']} clips; expected error {_percent(told['error'])}, on "
                f"validation clips {_percent(told['validation_error'])}):"
            )
            model = self.params[f"pattern-{number}"]
            found += [f"    {line}" for line in self.method.model_rules(model, names)]
        return found

    def explain(self, batch: Batch) -> list[dict[str, Any]]:
        """See `Explained.explain`."""
        logits = self._logits(batch)
        found = []
        for row, pattern in enumerate(patterns_of(logits).tolist()):
            experts: dict[str, Any] = {}
            for place, (item, name) in enumerate(zip(self.method.inputs(), self.method.experts, strict=True)):
                value = batch.data[item].clip[row]
                experts[name] = {"reason": self._why(batch, item, row)} if np.isnan(value) else {"score": float(value)}
                if not np.isnan(value) and np.isnan(logits[row, place]):
                    experts[name]["left_out"] = self.about["without"][name]
            path = [f"{name} takes no part: {why}" for name, why in self.about["without"].items()]
            if pattern:
                by = self.about["patterns"][str(pattern)]["by"]
                names, own = self._names(by), logits[row, _places(by, logits.shape[1])]
                if by != pattern:
                    path.append(
                        f"no training clip of both classes has scores of {', '.join(self._names(pattern))} together; "
                        f"the model of {', '.join(names)} decides"
                    )
                path += self.method.model_path(self.params[f"pattern-{by}"], names, own)
            else:
                path.append("no expert has a score, so there is no decision")
            found.append({"experts": experts, "because": path})
        return found

    def _model(self, pattern: int, logits: Any, xp: Any) -> Any:
        """Logits [n] by the model of a combination of experts that have all scored these clips."""
        by = self.about["patterns"][str(pattern)]["by"]
        count = logits.shape[1]
        mean = logits[:, _places(pattern, count)].mean(1)
        return self.method.model_logits(self.params[f"pattern-{by}"], logits[:, _places(by, count)], mean, xp)

    def _names(self, pattern: int) -> list[str]:
        return [self.method.experts[place] for place in _places(pattern, len(self.method.experts))]

    def _logits(self, batch: Batch) -> Float[np.ndarray, "n k"]:
        """NaN where an expert has no score or takes no part."""
        return np.where(self.params["usable"] > 0, _read(self.method, batch), np.nan)

    def _reason(self, batch: Batch, row: int) -> str:
        said = [
            f"{name}: {self._why(batch, item, row)}"
            for name, item in zip(self.method.experts, self.method.inputs(), strict=True)
        ]
        return f"no expert has a score ({'; '.join(said)})"

    def _why(self, batch: Batch, item: Input, row: int) -> str:
        known = batch.absent.get(item) or batch.data[item].reason
        return (known[row] if known else "") or self.about["without"].get(item.name, "")


def check_params(method: VerdictSettings, params: Any, about: Mapping[str, Any]) -> None:
    """Raises `UserError` unless these are the parameters of a detector with these settings."""
    models = {f"pattern-{told['by']}" for told in about.get("patterns", {}).values()}
    fits = models and params.keys() == {"usable", *models} and np.shape(params["usable"]) == (len(method.experts),)
    if not fits or any({n: np.ndim(v) for n, v in params[each].items()} != dict(method.ranks) for each in models):
        raise UserError(f"the parameters of a {method.kind} are not those of models over {', '.join(method.experts)}")


def fit_verdict(job: Job, clips: Clips) -> Detector | Failed:
    """See `Method.fit`."""
    method, task = cast(VerdictSettings, job.method), job.task
    (logits, whys), (held, _) = (_scores(method, clips, rows, task.number) for rows in (task.train, task.validation))
    labels, held_labels = (np.asarray(clips.labels)[rows] for rows in (task.train, task.validation))
    lacking: dict[str, str] = {}
    while True:
        logits[:, [name in lacking for name in method.experts]] = np.nan
        weights = balanced_weights(patterns_of(logits), labels)
        silent = [
            place
            for place, name in enumerate(method.experts)
            if name not in lacking and not (~np.isnan(logits[:, place]) & (weights > 0)).any()
        ]
        if not silent:
            break
        for place in silent:
            why = next((why for why in whys[place] if why), "")
            scored = not np.isnan(logits[:, place]).all()
            lacking[method.experts[place]] = _ONE_CLASS if scored else why
    usable = np.array([name not in lacking for name in method.experts])
    if not usable.any():
        said = "; ".join(f"{name}: {why}" for name, why in lacking.items())
        return Failed(f"no expert has scores of training clips of both classes ({said})")
    held = np.where(usable, held, np.nan)
    params: dict[str, Any] = {"usable": usable.astype(np.float64)}
    patterns: dict[str, dict[str, Any]] = {}
    everyone = int(sum(2**place for place in np.flatnonzero(usable)))
    # Small combinations first: a larger one without data falls back on one of them.
    for pattern in sorted((each for each in range(1, everyone + 1) if not each & ~everyone), key=int.bit_count):
        places = _places(pattern, len(usable))
        known = ~np.isnan(logits[:, places]).any(1) & (weights > 0)
        if set(labels[known].tolist()) == {0, 1}:
            own, there = logits[known][:, places], ~np.isnan(held[:, places]).any(1)
            model = method.fit_model(own, labels[known], weights[known], task.seed)
            params[f"pattern-{pattern}"] = model
            judged = held[there][:, places]
            patterns[str(pattern)] = {
                "by": pattern,
                "clips": int(known.sum()),
                "error": _error(method.model_logits(model, own, own.mean(1), np), labels[known], weights[known]),
                "validation_error": _error(
                    method.model_logits(model, judged, judged.mean(1), np), held_labels[there], np.ones(there.sum())
                ),
            }
            continue
        fitted = [told for number, told in patterns.items() if told["by"] == int(number) and not told["by"] & ~pattern]
        if fitted:
            patterns[str(pattern)] = min(fitted, key=lambda told: (told["error"], told["by"]))
    return VerdictDetector(method, params, {"without": lacking, "patterns": patterns})


def balanced_weights(patterns: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Weights with which both classes count the same within each pattern of availability; their mean is 1.

    A pattern keeps its share of the clips. A pattern that lacks a class, or holds no expert, has weight 0.
    """
    weights = np.zeros(len(patterns))
    for pattern in np.unique(patterns[patterns > 0]):
        mine = patterns == pattern
        counts = np.bincount(labels[mine], minlength=2)
        if counts.all():
            weights[mine] = mine.sum() / 2 / counts[labels[mine]]
    return weights / weights.mean() if weights.any() else weights


def _scores(
    method: VerdictSettings, clips: Clips, rows: Int[np.ndarray, " m"], task: int
) -> tuple[Float[np.ndarray, "m k"], list[Sequence[str]]]:
    """The experts' logits of some clips, and for each expert the reasons why a score is missing."""
    # `read` wants rows in order; a clip may come twice.
    unique, back = np.unique(rows, return_inverse=True)
    batch = clips.read(unique, method.inputs(), task)
    return _read(method, batch)[back], [batch.absent.get(item, ()) for item in method.inputs()]


def _read(method: VerdictSettings, batch: Batch) -> Float[np.ndarray, "n k"]:
    scores = [np.clip(batch.data[item].logits(), -MOST_LOGIT, MOST_LOGIT) for item in method.inputs()]
    # As the exported program has them.
    found: np.ndarray = np.stack(scores, 1).astype(np.float32).astype(np.float64)
    return found


def patterns_of(logits: Float[np.ndarray, "n k"]) -> Int[np.ndarray, " n"]:
    """Which experts have a score of each clip, as bits: expert i counts 2^i."""
    found: np.ndarray = (~np.isnan(logits)) @ (2 ** np.arange(logits.shape[1]))
    return found


def _places(pattern: int, count: int) -> list[int]:
    return [place for place in range(count) if pattern >> place & 1]


def _error(logits: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], weights: np.ndarray) -> float | None:
    wrong: Bool[np.ndarray, " n"] = (logits >= 0) != (labels == 1)
    if set(labels.tolist()) != {0, 1}:
        return None
    return float(np.mean([np.average(wrong[own], weights=weights[own]) for own in (labels == 0, labels == 1)]))


def _narrow(leaf: Any) -> Any:
    import jax.numpy as jnp

    return leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf


def _percent(share: float | None) -> str:
    return "undefined" if share is None else f"{share:.1%}"
