"""Writes golden/gradgpad: real scores of two PAD systems, and what gradgpad and pyeer say of them.

Both packages need an environment of their own (gradgpad wants numpy < 2):

    python -m venv peer && peer/bin/pip install "numpy<2" gradgpad==2.1.0 pyeer==0.5.6
    peer/bin/python tests/make_golden_scores.py

gradgpad (MIT, Alejandro Costa-Pazo et al.) ships the scores. There a higher score means attack; the files hold the
negated scores, so that a higher one means bona fide, as everywhere in this project.
"""

import gzip
import json
import shutil
from pathlib import Path

import gradgpad
from gradgpad import Approach, Dataset, Protocol, ScoresProvider, Subset
from gradgpad.foundations.metrics.acer import acer
from gradgpad.foundations.metrics.apcer import apcer
from gradgpad.foundations.metrics.bpcer import bpcer
from gradgpad.foundations.metrics.bpcer_fixing_apcer import bpcer_fixing_apcer
from gradgpad.foundations.metrics.eer import eer
from gradgpad.foundations.metrics.hter import hter
from gradgpad.foundations.metrics.metrics import Metrics, meta_label_info_provider
from pyeer.eer_info import get_eer_stats

GOLDEN = Path(__file__).parent / "golden" / "gradgpad"
CASES = {
    "auxiliary-casia": (Approach.AUXILIARY, Dataset.CASIA_FASD),
    "quality-replay": (Approach.QUALITY_RBF, Dataset.REPLAY_ATTACK),
}


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    figures = {}
    for name, (approach, dataset) in CASES.items():
        parts = {}
        for subset in (Subset.DEVEL, Subset.TEST):
            found = ScoresProvider.get(approach, Protocol.CROSS_DATASET, subset, dataset)
            fine = found.get_numpy_fine_grained_pai_labels()
            coarse = Metrics(None, None)._transform_labels(fine, meta_label_info_provider(fine_grained_pais=False))
            parts[subset.value] = found.get_numpy_scores(), coarse
            write(GOLDEN / f"{name}-{subset.value}.csv.gz", *parts[subset.value])
        figures[name] = {subset: describe(*part, parts["devel"]) for subset, part in parts.items()}
    (GOLDEN / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    (licence,) = Path(gradgpad.__file__).parents[1].glob("gradgpad-*.dist-info/LICENSE")
    shutil.copy(licence, GOLDEN / "LICENSE.gradgpad")


def write(path, scores, labels):
    """Score (higher is bona fide, float32 as decimal text) and coarse PAI species, 0 for bona fide."""
    lines = [
        "score,pai",
        *(f"{-score!r},{label}" for score, label in zip(scores.tolist(), labels.tolist(), strict=True)),
    ]
    with path.open("wb") as file, gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed:
        packed.write("\n".join(lines).encode() + b"\n")


def describe(scores, labels, devel):
    """Everything that both packages say of one set; thresholds are on the negated scores."""
    _, source = eer(*devel)
    rate, threshold = eer(scores, labels)
    stats = get_eer_stats(list(map(float, -scores[labels == 0])), list(map(float, -scores[labels != 0])))
    return {
        "gradgpad": {
            "eer": rate,
            "eer_threshold": -threshold,
            "devel_eer_threshold": -source,
            "hter": hter(scores, labels, source),
            "apcer": apcer(scores, labels, source),
            "bpcer": bpcer(scores, labels, source),
            "acer": acer(scores, labels, source),
            "bpcer_at_apcer": {str(limit): bpcer_fixing_apcer(scores, labels, limit) for limit in (0.1, 0.05, 0.01)},
        },
        "pyeer": {
            "auc": stats.auc,
            "eer": stats.eer,
            "eer_low": stats.eer_low,
            "eer_high": stats.eer_high,
            "eer_threshold": stats.eer_th,
        },
    }


if __name__ == "__main__":
    main()
