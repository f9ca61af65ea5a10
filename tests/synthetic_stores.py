"""Tiny feature stores of four made-up datasets, for tests that train."""

import dataclasses
from pathlib import Path

import numpy as np

from fas_jax.base.record import Video
from fas_jax.features.store import FeatureStore, store_path, unit_name, write_manifest, write_unit
from tests.stores import clip_info

DIMENSION = 6


def make_stores(
    root: Path, *, strength: float = 1.0, subjects: int = 8, scramble: str = "", order: int | None = None, seed: int = 0
) -> tuple[FeatureStore, ...]:
    """One store a dataset; `scramble` names the one whose labels are drawn anew, `order` shuffles the videos."""
    found = []
    for number, name in enumerate("OCIM"):
        generator = np.random.default_rng([seed, number])
        rows = []
        for subject in range(subjects):
            split = ("train", "dev", "test")[subject % 3] if name in "OI" else ("train", "test")[subject % 2]
            for take in range(4):
                label = int(take < 2)
                pai = "bonafide" if label else ("print", "replay")[take % 2]
                video = Video(
                    f"{split}/{subject}_{take}.avi", f"synth-{name}", f"s{subject}", split, label, pai, pai, "phone", ""
                )
                length = int(generator.integers(2, 6))
                colour = tuple(generator.uniform(0, 255, 6).tolist())
                info = clip_info(
                    length,
                    colour=colour,
                    frame_count=90,
                    fps=30.0,
                    width=64,
                    height=48,
                    codec="avc1",
                    file_bytes=9000,
                    announced_frames=0,
                )
                features = generator.normal(size=(length, DIMENSION))
                features[:, 0] += strength * (2 * label - 1) + 0.3 * number
                rows.append((video, info, features.astype(np.float32)))
        if scramble == name:
            drawn = np.random.default_rng([seed, 99]).permutation([video.label for video, _, _ in rows])
            rows = [
                (
                    dataclasses.replace(
                        video,
                        label=int(label),
                        pai="bonafide" if label else "print",
                        pai_fine="bonafide" if label else "print",
                    ),
                    info,
                    features,
                )
                for (video, info, features), label in zip(rows, drawn, strict=True)
            ]
        if order is not None:
            rows = [rows[i] for i in np.random.default_rng([order, number]).permutation(len(rows))]
        identity = {"made_up": name, "seed": seed, "scramble": scramble, "order": order, "strength": strength}
        path = store_path(root, f"synth-{name}", identity)
        clips = [(video, info) for video, info, _ in rows]
        unit = write_unit(path, unit_name(0), clips, "whole", np.concatenate([features for _, _, features in rows]))
        provenance = {
            "dataset": f"synth-{name}",
            "synthetic": True,
            "complete": False,
            "dimension": DIMENSION,
            "prepared": name,
            "rendition": "whole",
            "backbone": "none",
            "weights": "none",
            "weights_sha256": "",
        }
        found.append(write_manifest(path, identity, provenance, (), [unit]))
    return tuple(found)
