"""A detector of a bundle as programs that need only JAX to run: no code of this project, and a batch of any size.

The folder holds two programs made by `jax.export`, the weights that both take, and a script that runs them.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Bool, Float32, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.files import sha256_file, write_json, write_text
from fas_jax.base.logits import CLOSEST
from fas_jax.base.outputs import output_folder
from fas_jax.base.parameters import save_tree
from fas_jax.base.settings import to_dict
from fas_jax.deployment.bundle import Bundle
from fas_jax.methods.base import method_to_dict
from fas_jax.methods.inputs import Input

PLATFORMS = ("cpu", "cuda", "tpu")
STAGE, SCORE, WEIGHTS, ABOUT, RUNNER = "stage.jax", "score.jax", "weights.safetensors", "serving.json", "run.py"
FORMAT = 2


def scorer(bundle: Bundle, name: str) -> Callable[[Any, UInt8[Array, "b t h w 3"], Bool[Array, "b t"]], Array]:
    """A pure function from weights (`serving_weights`), frames and mask to a detector's score of each clip.

    Scores are float32 [b]; a clip without a frame scores NaN.

    Raises:
        UserError: The bundle has no such detector, or it, or one whose scores it reads, is no function of one
            rendition's frames.
    """
    bundle.decision(name)
    rendition = exported_rendition(bundle, name)
    methods, settings = bundle.methods_for(name), bundle.features
    functions = {}
    lacking = jnp.full((1,), jnp.nan, jnp.float32)
    for each in methods:
        function = bundle.detectors[each].apply()
        if function is None:
            raise UserError(
                f"detector {each} ({methods[each].kind}) reads what decoding finds of a file and not its pixels alone; "
                "it cannot be exported"
            )
        functions[each] = function

    def score(weights: Any, frames: Array, mask: Array) -> Float32[Array, " b"]:
        clips, length = frames.shape[:2]
        flat = frames.reshape(clips * length, *frames.shape[2:])
        features = bundle.backbone.apply(weights["backbone"], flat, settings.precision)
        stored = features.astype(settings.store_dtype).astype(jnp.float32).reshape(clips, length, -1)
        item = Input("features", rendition)
        # The features of a detector that reads frames alone are not computed: nothing takes them.
        data: dict[Input, Any] = {
            Input("clip-scores", each): jnp.broadcast_to(lacking, (clips,)) for each in bundle.failed
        }
        data |= {item: stored, Input("frames", rendition): frames}
        masks = dict.fromkeys(data, mask)
        found = jnp.full((clips,), jnp.nan, jnp.float32)
        for each in methods:
            found, by_frame, *known = functions[each](weights["detectors"][each], data, masks)
            data[Input("scores", each)], masks[Input("scores", each)] = by_frame, mask
            # A probability that is rounded to 0 or 1 counts as the nearest that is not, as elsewhere.
            inside = jnp.clip(found, CLOSEST, 1 - CLOSEST)
            (logit,) = known or [jnp.log(inside) - jnp.log1p(-inside)]
            data[Input("clip-scores", each)] = jnp.where(mask.any(1), logit, jnp.nan)
        return jnp.where(mask.any(1), found, jnp.nan)

    return score


def exported_rendition(bundle: Bundle, name: str) -> str:
    """The one rendition that a detector reads.

    Raises:
        UserError: It reads several, or measures of native pixels, which are a program for each size of frames.
    """
    names = list(bundle.renditions_for(name))
    if native := [each for each in names if not bundle.renditions[each].size]:
        raise UserError(f"detector {name} reads measures of native pixels ({', '.join(native)}) and cannot be exported")
    if len(names) != 1:
        raise UserError(f"detector {name} reads {len(names)} renditions ({', '.join(names)}); an export reads one")
    return names[0]


def serving_weights(bundle: Bundle, name: str) -> dict[str, Any]:
    """What the exported programs of a detector take as their first argument; float32, as JAX computes."""
    detectors = {each: bundle.detectors[each].params for each in bundle.methods_for(name)}

    def plain(leaf: Any) -> np.ndarray:
        values = np.asarray(leaf)
        return values.astype(np.float32) if values.dtype == np.float64 else values

    return jax.tree.map(plain, {"backbone": bundle.backbone_params, "detectors": detectors})


def write_serving(bundle: Bundle, out: Path, name: str = "") -> dict[str, Any]:
    """Writes the exported programs, their weights and a script that needs only jax, flatbuffers, numpy and safetensors.

    The programs run on CPUs, NVIDIA GPUs and TPUs, in the form that is fastest on the backend in use now.

    Args:
        bundle: What to export.
        out: Folder; an earlier export is replaced, and nothing else.
        name: The detector; the bundle's default if empty.

    Returns:
        What `serving.json` says, with the files' sizes in bytes.

    Raises:
        UserError: As `scorer` and `output_folder`, or `out` cannot be written.
    """
    with output_folder(out) as place:
        return _write(bundle, place, name or bundle.default)


def _write(bundle: Bundle, out: Path, name: str) -> dict[str, Any]:
    rendition = exported_rendition(bundle, name)
    score, weights = scorer(bundle, name), serving_weights(bundle, name)
    side, length = bundle.renditions[rendition].size, bundle.renditions[rendition].most_frames
    described = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), weights)
    batch, time = export.symbolic_shape("b, t")
    if length:
        time = length
    frames = jax.ShapeDtypeStruct((batch, side, side, 3), np.uint8)
    clips = jax.ShapeDtypeStruct((batch, time, side, side, 3), np.uint8)
    mask = jax.ShapeDtypeStruct((batch, time), np.bool_)
    stage = partial(bundle.backbone.apply, precision=bundle.features.precision)
    programs = {
        STAGE: export.export(jax.jit(stage), platforms=PLATFORMS)(described["backbone"], frames),
        SCORE: export.export(jax.jit(score), platforms=PLATFORMS)(described, clips, mask),
    }
    for file, program in programs.items():
        (out / file).write_bytes(program.serialize())
    save_tree(out / WEIGHTS, weights, {"backbone": bundle.backbone.name})
    write_text(out / RUNNER, _RUNNER)
    files = (STAGE, SCORE, WEIGHTS, RUNNER)
    about = {
        "format": FORMAT,
        "detector": name,
        "methods": {each: method_to_dict(method) for each, method in bundle.methods_for(name).items()},
        "fusion": {
            each: method.fusion for each, method in bundle.methods_for(name).items() if hasattr(method, "fusion")
        },
        "threshold": bundle.decision(name).threshold,
        "backbone": bundle.backbone.name,
        "weights": bundle.about["inputs"]["features"]["weights"],
        "preparation": to_dict(bundle.preparation),
        "rendition": {"name": rendition, **to_dict(bundle.renditions[rendition])},
        "stage": f"stage(weights['backbone'], frames uint8 [b {side} {side} 3]) -> features float32 [b d]",
        "score": f"score(weights, frames uint8 [b {length or 't'} {side} {side} 3], mask bool [b {length or 't'}])"
        " -> score float32 [b]; bona fide from the threshold on, compared in float64",
        "jax": jax.__version__,
        "platforms": list(PLATFORMS),
        "sha256": {file: sha256_file(out / file) for file in files},
    }
    write_json(out / ABOUT, about)
    return json.loads(json.dumps(about)) | {"bytes": {file: (out / file).stat().st_size for file in files}}


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
    try:
        with np.load(source) as clips:
            frames, mask = clips["frames"], clips["mask"]
    except Exception as error:
        sys.exit(f"error: {source} holds no frames and mask as numpy.savez writes them ({error})")
    check(frames, mask, score.in_avals[-2].shape[1:])
    seconds = [time.perf_counter() - start]
    for _ in range(2):
        start = time.perf_counter()
        scores = np.asarray(score.call(weights, frames, mask))
        seconds.append(time.perf_counter() - start)
    features = np.asarray(stage.call(weights["backbone"], frames.reshape(-1, *frames.shape[2:])))
    features = features.reshape(*mask.shape, -1)
    # In float64, as the threshold was computed: NumPy would round it to the scores' float32.
    bona_fide = scores.astype(np.float64) >= np.float64(about["threshold"])
    try:
        np.savez(target, score=scores, bona_fide=bona_fide, features=features, seconds=seconds)
    except OSError as error:
        sys.exit(f"error: cannot write {target}: {error.strerror}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
'''
