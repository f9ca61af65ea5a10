"""Timing in turns, and what the roofline is computed from."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fas_jax.models.backbones.densenet import SHAPES, Shape
from scripts.benchmarks import timing as benchmark
from scripts.benchmarks.timing import Contestant, Row, bytes_moved, compare, copy_bandwidth, measure

ROOT = Path(__file__).parent.parent


def test_everyone_has_a_turn_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, turns = [0.0], []

    def contestant(name: str, seconds: float) -> Contestant:
        def step() -> None:
            turns.append(name)
            clock[0] += seconds

        return Contestant(name, "float32", 8, step)

    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: clock[0])
    rows = measure([contestant("fast", 0.25), contestant("slow", 2.0)], 4, seconds=1.0)
    assert [row.rounds for row in rows] == [pytest.approx((32,) * 4), pytest.approx((4,) * 4)]
    # A turn is a step that is not counted, then as many as it takes; who comes first is left to chance.
    assert re.fullmatch("(fffffss|ssfffff){4}", "".join(name[0] for name in turns))


def test_rows_are_compared_within_their_precision_and_batch() -> None:
    rows = [
        Row("ours", "float32", 16, (10, 12, 11, 30, 9)),
        Row("peer", "float32", 16, (22, 22, 22, 22, 22)),
        Row("ours", "bfloat16", 16, (30, 30, 30, 30, 30)),
    ]
    assert (rows[0].median, rows[1].spread) == (11, 0)
    table = compare(rows, "peer").splitlines()
    assert table[2].endswith("| 11.0 | 9% | 0.50 |")
    assert table[3].endswith("| 22.0 | 0% | 1.00 |")
    assert table[4].endswith("| 30.0 | 0% | — |")


def test_bytes_moved_by_a_tiny_network_counted_by_hand() -> None:
    # 64 pixels: stem 32x32, pooled 16x16, block 1 of one layer, transition to 8x8, block 2 of one layer.
    tiny = Shape(layers=(1, 1), growth=4, stem=6, bottleneck=2)
    stem = 2 * 32 * 32 * 6 + 16 * 16 * 6
    first = 16 * 16 * (6 + 2 * 8 + 4) + 16 * 16 * 10 + 8 * 8 * 5
    second = 8 * 8 * (5 + 2 * 8 + 4) + 8 * 8 * 9
    assert bytes_moved(tiny, 64, 2) == 2 * (stem + first + second)
    # An independent estimate of this size: about 62 MB in bfloat16.
    assert 50e6 < bytes_moved(SHAPES["densenet201"], 224, 2) < 75e6


def test_a_copy_has_a_bandwidth() -> None:
    assert 1e7 < copy_bandwidth(2**22, repeats=2) < 1e14


@pytest.mark.slow
def test_the_script_prints_both_precisions(tmp_path: Path) -> None:
    options = ["--backbone", "densenet121", "--side", "32", "--batch-sizes", "2", "--rounds", "2", "--no-peers"]
    command = [sys.executable, "-m", "scripts.benchmarks.features", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    out = tmp_path / "figures.json"
    found = subprocess.run([*command, "--out", str(out)], env=environment, check=True, capture_output=True, text=True)
    assert "JAX restructured, bfloat16: at least 0.99" in found.stdout
    assert [(row["name"], row["precision"]) for row in json.loads(out.read_text())["rows"]] == [
        ("JAX restructured", "float32"),
        ("JAX restructured", "bfloat16"),
    ]
