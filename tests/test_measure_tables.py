"""Tables of what measures of image quality separate."""

import numpy as np

from fas_jax.base.record import Video
from fas_jax.base.video_table import VideoTable
from fas_jax.studies.measure_tables import measure_tables


def test_tables_tell_classes_species_devices_and_datasets_apart():
    rng = np.random.default_rng(0)
    videos, rows = [], []
    for number in range(400):
        dataset, device, kind = (
            "AB"[number % 2],
            ("x", "y")[number // 2 % 2],
            ("bonafide", "print", "replay")[number % 3],
        )
        videos.append(Video(str(number), dataset, "s", "train", int(kind == "bonafide"), kind, kind, device, ""))
        attack = kind != "bonafide"
        rows.append([attack, kind == "print", dataset == "B", attack if device == "x" else -attack, np.nan])
    values = np.array(rows, float) * 5 + rng.normal(size=(400, 5))
    first, second = measure_tables(values, ["class", "print", "dataset", "camera", "never"], VideoTable.of(videos))
    assert list(first.grid.header) == ["measure", "print", "replay", "all attacks", "devices"]
    cells = {row[0]: row[1:] for row in first.grid.rows}
    assert float(cells["class"][2]) < 0.01
    assert float(cells["print"][0]) < 0.01
    assert 0.35 < float(cells["print"][1]) < 0.65
    assert 0.35 < float(cells["dataset"][2]) < 0.65
    low, high = (float(each) for each in cells["camera"][3].split(" to "))
    assert low < 0.01
    assert high > 0.99
    assert cells["never"] == ["undefined"] * 4
    told = {row[0]: row[1:] for row in second.grid.rows}
    assert second.grid.rows[0][0] == "dataset"
    assert float(told["dataset"][0]) > 0.99
    assert told["dataset"][3] == "yes"
    assert told["class"][3] == ""


def test_one_dataset_tells_no_datasets_apart():
    videos = VideoTable.of(
        Video(str(i), "A", "s", "train", i % 2, ("print", "bonafide")[i % 2], "", "", "") for i in range(20)
    )
    _, second = measure_tables(np.arange(20.0)[:, None], ["m"], videos)
    assert second.grid.rows == [["m", "undefined", "undefined", second.grid.rows[0][3], ""]]
