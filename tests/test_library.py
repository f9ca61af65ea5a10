"""The package from Python: its public names, verdicts with intervals, and a notebook's kernel that runs the page."""

import ast
import importlib
import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

import fas_jax
from fas_jax.base.errors import UserError
from fas_jax.deployment.bundle_folder import SHIPPED
from fas_jax.deployment.verdict import frame_interval
from fas_jax.methods.data import Scores
from fas_jax.methods.deeppixbis import DeepPixBiS
from fas_jax.methods.end2end import End2End
from fas_jax.methods.finetune import Finetune
from fas_jax.methods.recurrent import Gru
from fas_jax.synthetic.sample import render_sample
from tests.commands import ROOT

PUBLIC = (
    *(
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
    ),
    *("Verdicts", "__version__", "evaluate_scores", "keep_programs", "load_bundle", "load_experiment", "open_run"),
    *("prepare", "render_sample", "train", "use_cores"),
)
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_public_names_are_these_and_each_is_explained() -> None:
    assert sorted(fas_jax.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(fas_jax))
    for name in set(PUBLIC) - {"__version__"}:
        value = getattr(fas_jax, name)
        assert len(value.__doc__ or "") > 40, name
        assert not (value.__doc__ or "").startswith(f"{name}("), f"{name} has the docstring that dataclasses make"
        own = vars(value).items() if isinstance(value, type) else ()
        unexplained = [each for each, method in own if callable(method) and each[0] != "_" and not method.__doc__]
        assert not unexplained, (name, unexplained)
        assert f"`{name}`" in PAGE


def test_what_checkers_see_is_what_is_imported() -> None:
    tree = ast.parse((ROOT / "fas_jax" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen.keys() == set(PUBLIC) - {"UserError", "__version__"}
    for name, module in seen.items():
        assert getattr(fas_jax, name) is getattr(importlib.import_module(str(module)), name)


def test_importing_it_imports_nothing_heavy_and_knows_its_version() -> None:
    program = (
        "import sys, fas_jax; print(fas_jax.__version__);"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'jax', 'numpy', 'cv2', 'tyro'}))"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert found.stdout.splitlines() == [version, "[]"]
    with pytest.raises(AttributeError, match="no attribute 'lode_bundle'"):
        _ = fas_jax.lode_bundle


def test_settings_change_by_dotted_names() -> None:
    changed = fas_jax.load_experiment("quickstart", {"name": "mine", "evaluation.targets": ["M"], "seeds": [3]})
    assert (changed.name, changed.evaluation.targets, changed.seeds) == ("mine", ("M",), (3,))
    plain = fas_jax.load_experiment("quickstart")
    assert changed.methods == plain.methods
    assert fas_jax.load_experiment({"methods": {"gru": {"kind": "gru"}}}).methods == {"gru": Gru()}
    for wrong in ({"evaluation.target": ["M"]}, {"evaluate.targets": ["M"]}):
        with pytest.raises(UserError, match="did you mean"):
            fas_jax.load_experiment("quickstart", wrong)


def scores_of(frames: list[float], clip: float) -> Scores:
    padded = np.array([[*frames, 0.99]], np.float32)  # a padded frame means nothing
    return Scores(np.array([clip]), padded)


@pytest.mark.parametrize("fusion", ["mean", "mean-logit"])
def test_the_interval_is_that_of_all_resamples(fusion: str) -> None:
    """Against all 256 resamples of four frames, each equally likely."""
    frames = [0.2, 0.3, 0.6, 0.7]

    def fuse(values: tuple[float, ...]) -> float:
        if fusion == "mean":
            return float(np.mean(values))
        return float(1 / (1 + np.exp(-np.mean([np.log(p / (1 - p)) for p in values]))))

    method = Finetune(fusion=fusion)
    interval, note = frame_interval(method, scores_of(frames, fuse(tuple(frames))), range(4))
    every = [fuse(values) for values in itertools.product(frames, repeat=4)]
    assert (interval.low, interval.high) == pytest.approx(np.quantile(every, [0.025, 0.975]), abs=0.01)
    assert "its 4 frames" in note
    assert frame_interval(method, scores_of(frames, fuse(tuple(frames))), range(4)) == (interval, note)
    # Two looks at each frame, in any order, or bursts of two frames, are drawn together.
    twice = [*frames, *frames[::-1]]
    indices = [9, 20, 30, 44, 44, 30, 20, 9]
    same, _ = frame_interval(method, scores_of(twice, fuse(tuple(frames))), indices)
    assert (same.low, same.high) == pytest.approx((interval.low, interval.high), abs=1e-6)
    bursts = [value for value in frames for _ in range(2)]
    same, note = frame_interval(method, scores_of(bursts, fuse(tuple(frames))), range(8), burst=2)
    assert (same.low, same.high) == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert "its 4 bursts" in note


def test_there_is_no_interval_where_none_is_defined() -> None:
    four = scores_of([0.2, 0.3, 0.6, 0.7], 0.45)
    for method, scores, count, why in (
        (Finetune(fusion="mean"), scores_of([0.2, 0.3, 0.7], 0.4), 3, "fewer than 4"),
        (Finetune(fusion="mean"), scores_of([1.0, 1.0, 1.0, 0.2], 0.1), 4, "rounded"),
        (Gru(), four, 4, "in order"),
        (End2End(), four, 4, "in order"),
        (Finetune(), Scores(np.array([0.4])), 4, "as a whole"),
    ):
        interval, note = frame_interval(method, scores, range(count))
        assert np.isnan([interval.low, interval.high]).all()
        assert note.startswith("no interval: ")
        assert why in note
    assert not np.isnan(frame_interval(DeepPixBiS(fusion="mean"), four, range(4))[0].low)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_sample(tmp_path_factory.mktemp("videos"), frames=12)


def read(video: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(video))
    frames = []
    while (found := capture.read())[0]:
        frames.append(found[1])
    return np.stack(frames)


def test_frames_in_memory_are_judged_as_their_file(video: Path) -> None:
    """Chosen, cropped and scored alike; an order of colours that is not told right is another picture."""
    bundle = fas_jax.load_bundle()
    assert bundle.folder == SHIPPED
    (of_file,) = bundle.judge_files([video])
    frames = read(video)
    bgr = bundle.judge_frames(frames, channels="BGR")
    assert bgr.score == of_file.score
    assert bgr.frames == of_file.frames
    assert bgr.interval == of_file.interval
    assert 0 < bgr.interval.low <= bgr.score <= bgr.interval.high < 1
    assert bundle.judge_frames(list(frames[..., ::-1]), channels="RGB").score == bgr.score
    assert bundle.judge_frames(frames, channels="RGB").score != bgr.score
    chosen = frames[list(of_file.frames["face"])]
    assert bundle.judge_frames(chosen, channels="BGR", chosen=True).score == bgr.score
    nobody = bundle.judge_frames(np.zeros((3, 120, 160, 3), np.uint8), channels="RGB")
    assert (nobody.decision, np.isnan(nobody.score)) == ("no decision", True)
    assert "no face" in nobody.reason
    assert "no face" in str(nobody)
    shown = bundle.judge_files([video])
    assert f"{bgr.score:.3f}" in shown._repr_html_()
    assert "has seen no real attack" in shown._repr_html_()
    assert repr(bundle).startswith("Bundle shipped")
    assert shown.rows()[0]["score"] == bgr.score


@pytest.mark.usefixtures("unchecked_types")
def test_other_arrays_are_refused(video: Path) -> None:
    bundle = fas_jax.load_bundle()
    frames = np.zeros((2, 60, 80, 3), np.uint8)
    for wrong in (frames[0], frames[..., :1], frames.astype(float)):
        with pytest.raises(UserError, match=r"frames must be uint8 \[t h w 3\]"):
            bundle.judge_frames(wrong, channels="RGB")
    with pytest.raises(UserError, match="channels must be"):
        bundle.judge_frames(frames, channels="rgb")
    for fps in (-25.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="fps must be"):
            bundle.judge_frames(frames, channels="RGB", fps=fps)
    with pytest.raises(UserError, match="unknown detector"):
        bundle.judge_frames(frames, channels="RGB", detector="finetun")
    assert bundle.judge_frames(frames[:0], channels="RGB").reason == "an array without a frame"


def test_scores_of_any_system_are_evaluated_from_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    columns = {
        "video": [f"v{number}" for number in range(40)],
        "label": label,
        "score": np.where(np.arange(40) == 7, np.nan, rng.normal(label, 1.0)),
        "subject": np.arange(40) // 4,
        "role": ["validation" if number < 20 else "test" for number in range(40)],
    }
    found = fas_jax.evaluate_scores(columns)
    (row,) = found.rows()
    again = fas_jax.evaluate_scores(columns, out=tmp_path / "report")
    assert again.rows() == found.rows()
    assert (tmp_path / "report" / "report.html").exists()
    assert f"{100 * row['hter']:.2f}" in repr(found)
    assert row["hter_low"] <= row["hter"] <= row["hter_high"]
    rounded = [None if np.isnan(each) else np.float32(each) for each in columns["score"]]
    single = fas_jax.evaluate_scores({**columns, "score": np.float32(columns["score"])})
    assert fas_jax.evaluate_scores({**columns, "score": rounded}).rows() == single.rows()
    with pytest.raises(UserError, match="differ in length"):
        fas_jax.evaluate_scores({**columns, "label": label[1:]})


# Without networks: its worker processes are what is tested. Its script has no guard, and begins once.
SCRIPT = """
import fas_jax
print("BEGINS", flush=True)
run = fas_jax.train(fas_jax.load_experiment({experiment!r}))
evaluation = run.evaluate()
print(run, evaluation, run.bundle(), sep="\\n")
renditions = {{"small": fas_jax.Rendition(segment=1, size=32)}}
(dataset,) = fas_jax.prepare("mine.csv", "prepared", renditions=renditions)
print(dataset, dataset.clips)
print(len(evaluation.rows()), fas_jax.open_run(run.folder).bundles)
from fas_jax.datasets.loading import made_ahead
print(list(made_ahead(abs, range(3), processes=1)))
"""


def write_pictures(folder: Path) -> None:
    """A manifest of pictures, whose attacks are darker."""
    lines = ["video,label,subject,split"]
    for number, (split, subject, label) in enumerate(
        itertools.product(("train", "dev", "test"), range(4), ("bonafide", "attack"))
    ):
        bright = 200 if label == "bonafide" else 120
        picture = np.random.default_rng(number).integers(bright - 50, bright + 50, (32, 32, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        lines.append(f"{number}.png,{label},{split}{subject},{split}")
    (folder / "mine.csv").write_text("\n".join(lines) + "\n")


def test_a_script_without_a_guard_prepares_trains_and_evaluates(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    table = {
        "name": "scripted",
        "data": {"manifests": ["mine.csv"]},
        "evaluation": {"protocols": ["intra-mine"]},
        "features": {"backbone": "none"},
        "methods": {"colour": {"kind": "colour"}, "metadata": {"kind": "metadata"}},
    }
    (tmp_path / "script.py").write_text(SCRIPT.format(experiment=table))
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("BEGINS") == 1
    assert "| colour | colour | whole |" in done.stdout
    assert "{'train': 8, 'dev': 8, 'test': 8}" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["2 ['intra-mine']", "[0, 1, 2]"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's client
def test_a_notebook_runs_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ten lines in a real kernel: within its event loop, with a decoding worker, a table at the end."""
    from jupyter_client.manager import start_new_kernel

    lines = BLOCKS[0].splitlines()
    assert len([line for line in lines if line]) == 10
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    manager, client = start_new_kernel(startup_timeout=300, kernel_name="python3", cwd=str(tmp_path))
    try:
        outputs: list[dict] = []
        reply = client.execute_interactive(BLOCKS[0], timeout=600, output_hook=outputs.append)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)
    assert reply["content"]["status"] == "ok", reply["content"]
    printed = "".join(each["content"].get("text", "") for each in outputs if each["msg_type"] == "stream")
    of_file, of_array = re.findall(r"score ([\d.]+) \[([\d.]+), ([\d.]+)\]", printed)
    assert of_file == of_array
    (shown,) = [each["content"]["data"] for each in outputs if each["msg_type"] == "execute_result"]
    assert f'<td class="n">{of_file[0]}<br>' in shown["text/html"]
    assert "has seen no real attack" in shown["text/plain"]
