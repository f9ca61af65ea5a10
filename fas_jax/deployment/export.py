"""A detector of a bundle as programs that need only JAX to run: no code of this project, and a batch of any size.

The folder holds programs made by `jax.export`, the weights that they take, and a script that runs them. The programs
are the feature stage, the score of whole clips and, for a detector that can judge a video that still runs, the step
from frame to frame.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from fas_jax.base.errors import UserError
from fas_jax.base.files import sha256_file, write_json, write_text
from fas_jax.base.outputs import output_folder
from fas_jax.base.parameters import save_tree
from fas_jax.base.settings import to_dict
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.functions import exported_rendition, scorer, serving_weights, stepper
from fas_jax.methods.base import method_to_dict

PLATFORMS = ("cpu", "cuda", "tpu")
STAGE, SCORE, STEP = "stage.jax", "score.jax", "step.jax"
WEIGHTS, ABOUT, RUNNER = "weights.safetensors", "serving.json", "run.py"
FORMAT = 2


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
    stepping = _step(bundle, name, described)
    if isinstance(stepping, Step):
        programs[STEP] = stepping.program
    for file, program in programs.items():
        (out / file).write_bytes(program.serialize())
    save_tree(out / WEIGHTS, weights, {"backbone": bundle.backbone.name})
    write_text(out / RUNNER, _RUNNER)
    files = (*programs, WEIGHTS, RUNNER)
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
        **(stepping.about if isinstance(stepping, Step) else {"no_step": stepping}),
        "jax": jax.__version__,
        "platforms": list(PLATFORMS),
        "sha256": {file: sha256_file(out / file) for file in files},
    }
    write_json(out / ABOUT, about)
    return json.loads(json.dumps(about)) | {"bytes": {file: (out / file).stat().st_size for file in files}}


class Step(NamedTuple):
    """The exported step, and what `serving.json` says of it."""

    program: export.Exported
    about: dict[str, Any]


def _step(bundle: Bundle, name: str, weights: Any) -> Step | str:
    """The exported step; or why there is none."""
    try:
        steps = stepper(bundle, name)
    except UserError as error:
        return str(error)
    leaves, tree = jax.tree.flatten(steps.start)
    assert not any(np.any(leaf) for leaf in leaves), "the runner begins with zeros"

    def step(weights: Any, carry: list[Any], frame: Any) -> tuple[list[Any], Any]:
        carried, score = steps.step(weights, jax.tree.unflatten(tree, carry), frame)
        return jax.tree.leaves(carried), score

    side = bundle.renditions[steps.rendition].size
    carry = [jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype) for leaf in leaves]
    frame = jax.ShapeDtypeStruct((side, side, 3), np.uint8)
    program = export.export(jax.jit(step), platforms=PLATFORMS)(weights, carry, frame)
    about = {
        "step": f"step(weights, carry, frame uint8 [{side} {side} 3]) -> carry, score float32 [] of the frames so far;"
        " the carry is a list of arrays, all zero before a clip's first frame",
        "carry": [{"shape": list(each.shape), "dtype": str(each.dtype)} for each in carry],
        "window": steps.window,
    }
    return Step(program, about)


_RUNNER = '''"""Scores clips with the exported programs beside this file; needs jax, flatbuffers, numpy and safetensors.

    python run.py CLIPS.npz OUT.npz
    python run.py --step FRAMES.npz OUT.npz

CLIPS.npz holds `frames` (uint8 [b t h w 3], RGB) and `mask` (bool [b t], true where there is a frame); OUT.npz gets
`score` and `bona_fide` [b], `features` [b t d], and `seconds` (reading, the first call, which compiles, and the next).
With --step, FRAMES.npz holds the kept `frames` of one video (uint8 [t h w 3]), which step.jax reads one by one, and
OUT.npz gets `score` and `bona_fide` [t] after each, and the `seconds` that it took (the first one compiles).
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import jax
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


def stream(source, target):
    about, weights, _, _ = load()
    if "step" not in about:
        sys.exit(f"error: there is no step: {about['no_step']}")
    program = export.deserialize(bytearray((HERE / "step.jax").read_bytes()))
    try:
        with np.load(source) as clip:
            frames = clip["frames"]
    except Exception as error:
        sys.exit(f"error: {source} holds no frames as numpy.savez writes them ({error})")
    side = program.in_avals[-1].shape
    if frames.shape[1:] != side or frames.dtype != np.uint8:
        sys.exit(f"error: frames must be uint8 [t {' '.join(map(str, side))}], not {frames.dtype} {list(frames.shape)}")
    step = jax.jit(program.call)
    carry = [np.zeros(each["shape"], each["dtype"]) for each in about["carry"]]
    scores, seconds = np.zeros(len(frames), np.float32), np.zeros(len(frames))
    for number, frame in enumerate(frames):
        start = time.perf_counter()
        carry, score = step(weights, carry, frame)
        scores[number] = score
        seconds[number] = time.perf_counter() - start
    save(target, score=scores, bona_fide=scores.astype(np.float64) >= np.float64(about["threshold"]), seconds=seconds)


def save(target, **arrays):
    try:
        np.savez(target, **arrays)
    except OSError as error:
        sys.exit(f"error: cannot write {target}: {error.strerror}")


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
    save(target, score=scores, bona_fide=bona_fide, features=features, seconds=seconds)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "--step":
        stream(*sys.argv[2:])
    elif len(sys.argv) == 3:
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
'''
