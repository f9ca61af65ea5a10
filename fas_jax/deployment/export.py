"""A bundle as programs that need only JAX to run: no code of this project, and a batch of any size.

The folder holds two programs made by `jax.export`, the weights that both take, and a script that runs them.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Bool, Float32, UInt8

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import sha256_file, write_json, write_text
from fas_jax.base.parameters import save_tree
from fas_jax.deployment.bundle import Bundle
from fas_jax.methods.stacking import BASE_MODELS, META
from fas_jax.models.recurrent import bona_fide_probability, padded

PLATFORMS = ("cpu", "cuda", "tpu")
STAGE, SCORE, WEIGHTS, ABOUT, RUNNER = "stage.jax", "score.jax", "weights.safetensors", "serving.json", "run.py"
FORMAT = 1


def scorer(bundle: Bundle, model: str = META) -> Callable[[Any, UInt8[Array, "b t h w 3"], Bool[Array, "b t"]], Array]:
    """A pure function from weights (`serving_weights`), frames and mask to the model's score of each clip, float32 [b].

    A clip without a frame scores NaN.

    Raises:
        UserError: The bundle has no such model.
    """
    if model not in bundle.ensemble.architectures:
        raise unknown_name("model", model, bundle.ensemble.architectures)
    settings, fusion = bundle.experiment.features, bundle.experiment.evaluation.fusion
    architectures, combine = bundle.ensemble.architectures, bundle.ensemble.combine

    def score(weights: Any, frames: Array, mask: Array) -> Float32[Array, " b"]:
        clips, length = frames.shape[:2]
        flat = frames.reshape(clips * length, *frames.shape[2:])
        features = bundle.backbone.apply(weights["backbone"], flat, settings.precision)
        stored = features.astype(settings.store_dtype).astype(jnp.float32).reshape(clips, length, -1)
        # As a padded clip's features are in training: zero.
        inputs = jnp.where(mask[..., None], stored, 0)

        def probability(name: str, inputs: Array) -> Array:
            logits = architectures[name].apply(weights["heads"][name], padded(inputs, mask))
            return jnp.where(mask, bona_fide_probability(logits), 0)

        if model != META:
            return fuse(probability(model, inputs), mask, fusion)
        pairs = [jnp.stack([1 - p, p], -1) for p in (probability(kind, inputs) for kind in BASE_MODELS)]
        joined = jnp.concatenate(pairs, -1) if combine == "concat" else sum(pairs[1:], pairs[0])
        return fuse(probability(META, joined), mask, fusion)

    return score


def fuse(probabilities: Float32[Array, "b t"], mask: Bool[Array, "b t"], fusion: str) -> Float32[Array, " b"]:
    """`stacking.fuse` as a traceable function."""
    real = jnp.where(mask, probabilities, jnp.nan)
    if fusion == "last":
        last = jnp.max(jnp.where(mask, jnp.arange(mask.shape[1]), -1), axis=1)
        at = jnp.arange(mask.shape[1])[None] == last[:, None]
        return jnp.where(last < 0, jnp.nan, jnp.sum(jnp.where(at, probabilities, 0), axis=1))
    joined: dict[str, Callable[..., Array]] = {
        "mean": jnp.nanmean,
        "median": jnp.nanmedian,
        "minimum": jnp.nanmin,
    }
    return joined[fusion](real, axis=1)


def serving_weights(bundle: Bundle) -> dict[str, Any]:
    """What the exported programs take as their first argument."""
    heads = jax.tree.map(lambda leaf: leaf[0], bundle.ensemble.params)
    return jax.tree.map(np.asarray, {"backbone": bundle.backbone_params, "heads": heads})


def write_serving(bundle: Bundle, out: Path, model: str = META) -> dict[str, Any]:
    """Writes the exported programs, their weights and a script that needs only jax, flatbuffers, numpy and safetensors.

    The programs run on CPUs, NVIDIA GPUs and TPUs, in the form that is fastest on the backend in use now.

    Args:
        bundle: What to export.
        out: Folder; what an earlier export left there is replaced.
        model: Whose score.

    Returns:
        What `serving.json` says, with the files' sizes in bytes.

    Raises:
        UserError: The bundle has no such model, `out` holds something else, or cannot be written.
    """
    if out.exists() and any(out.iterdir()):
        if not (out / ABOUT).exists():
            raise UserError(f"{out} is not empty and holds no earlier export; name another folder by --out")
        shutil.rmtree(out)
    rendition = bundle.experiment.renditions["whole"]
    side, length = rendition.size, rendition.max_frames
    score, weights = scorer(bundle, model), serving_weights(bundle)
    described = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), weights)
    batch, time = export.symbolic_shape("b, t")
    if length:
        time = length
    frames = jax.ShapeDtypeStruct((batch, side, side, 3), np.uint8)
    clips = jax.ShapeDtypeStruct((batch, time, side, side, 3), np.uint8)
    mask = jax.ShapeDtypeStruct((batch, time), np.bool_)
    stage = partial(bundle.backbone.apply, precision=bundle.experiment.features.precision)
    programs = {
        STAGE: export.export(jax.jit(stage), platforms=PLATFORMS)(described["backbone"], frames),
        SCORE: export.export(jax.jit(score), platforms=PLATFORMS)(described, clips, mask),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, program in programs.items():
        (out / name).write_bytes(program.serialize())
    save_tree(out / WEIGHTS, weights, {"backbone": bundle.backbone.name})
    write_text(out / RUNNER, _RUNNER)
    files = (STAGE, SCORE, WEIGHTS, RUNNER)
    about = {
        "format": FORMAT,
        "model": model,
        "threshold": bundle.threshold(model),
        "backbone": bundle.backbone.name,
        "weights": bundle.about["weights"],
        "rendition": dataclasses.asdict(rendition),
        "stage": f"stage(weights['backbone'], frames uint8 [b {side} {side} 3]) -> features float32 [b d]",
        "score": f"score(weights, frames uint8 [b {length or 't'} {side} {side} 3], mask bool [b {length or 't'}])"
        " -> score float32 [b]; bona fide from the threshold on",
        "jax": jax.__version__,
        "platforms": list(PLATFORMS),
        "sha256": {name: sha256_file(out / name) for name in files},
    }
    write_json(out / ABOUT, about)
    return json.loads(json.dumps(about)) | {"bytes": {name: (out / name).stat().st_size for name in files}}


_RUNNER = '''"""Scores clips with the exported programs beside this file; needs jax, flatbuffers, numpy and safetensors.

    python run.py CLIPS.npz OUT.npz

CLIPS.npz holds `frames` (uint8 [b t h w 3], RGB) and `mask` (bool [b t], true where there is a frame); OUT.npz gets
`score` and `bona_fide` [b], `features` [b t d], and `seconds` (reading, the first call, which compiles, and the next).
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
from jax import export
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent


def load():
    """What serving.json says, the weights as nested dictionaries, and the two programs."""
    about = json.loads((HERE / "serving.json").read_text())
    for name, expected in about["sha256"].items():
        if hashlib.sha256((HERE / name).read_bytes()).hexdigest() != expected:
            sys.exit(f"error: {HERE / name} is damaged; export again")
    weights = {}
    for name, array in load_file(HERE / "weights.safetensors").items():
        *parents, leaf = name.split("/")
        node = weights
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array
    stage, score = (export.deserialize(bytearray((HERE / name).read_bytes())) for name in ("stage.jax", "score.jax"))
    return about, weights, stage, score


def check(frames, mask, clip):
    """Ends the program unless these are clips of this shape (a length that is no number may be any)."""
    fits = frames.ndim == 5 and all(not isinstance(n, int) or n == m for n, m in zip(clip, frames.shape[1:]))
    if not fits or not len(frames) or frames.dtype != np.uint8:
        sys.exit(f"error: frames must be uint8 [b {' '.join(map(str, clip))}], not {frames.dtype} {list(frames.shape)}")
    if mask.shape != frames.shape[:2] or mask.dtype != np.bool_:
        sys.exit(f"error: mask must be bool {list(frames.shape[:2])}, not {mask.dtype} {list(mask.shape)}")


def main(source, target):
    start = time.perf_counter()
    about, weights, stage, score = load()
    with np.load(source) as clips:
        frames, mask = clips["frames"], clips["mask"]
    check(frames, mask, score.in_avals[-2].shape[1:])
    seconds = [time.perf_counter() - start]
    for _ in range(2):
        start = time.perf_counter()
        scores = np.asarray(score.call(weights, frames, mask))
        seconds.append(time.perf_counter() - start)
    features = np.asarray(stage.call(weights["backbone"], frames.reshape(-1, *frames.shape[2:])))
    features = features.reshape(*mask.shape, -1)
    np.savez(target, score=scores, bona_fide=scores >= about["threshold"], features=features, seconds=seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
'''
