"""The card of a bundle: what its detectors were trained on, what they read, and what nobody may expect of them."""

from collections.abc import Mapping
from typing import Any

from fas_jax.protocols.presets import is_synthetic

ONLY_RENDERED = (
    "It was trained on rendered videos alone. **It has seen no real face and no real attack**: its scores and its "
    "threshold are a starting point for trying things out, and nothing that a door may depend on. Its error on real "
    "faces is not known here; train on real data and measure."
)


def rendered_share(about: Mapping[str, Any], name: str) -> float:
    """The share of rendered clips in a detector's training: 1 where all its sources are rendered.

    Args:
        about: As in bundle.json.
        name: The detector.
    """
    sources = about["sources"]
    if sources and all(map(is_synthetic, sources)):
        return 1.0
    return float(about.get("rendered", {}).get("share", {}).get(name, 0.0))


def card(about: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        about: As in bundle.json.
    """
    sources, joined = about["sources"], about.get("rendered", {}).get("clips", {})
    lines = ["# Card of a bundle for face presentation attack detection", ""]
    if sources and all(map(is_synthetic, sources)):
        lines += [ONLY_RENDERED, ""]
    elif any(map(is_synthetic, sources)):
        lines += ["Some of its sources are rendered videos, which say nothing about real attacks.", ""]
    if joined:
        clips = ", ".join(f"{name} ({count})" for name, count in joined.items())
        lines += [f"Rendered videos beside the sources, used in training alone: {clips}.", ""]
    lines += [
        f"- Sources: {', '.join(sources)}; protocol {about['protocol']}, seed {about['seed']}.",
        "- A score is P(bona fide); from the threshold on it means bona fide. A file without a face gets no decision.",
        f"- Backbone of features: {about['inputs']['features']['backbone']}; weights "
        f"{about['inputs']['features']['weights']}.",
        "",
        "| detector | kind | reads | threshold | rendered clips in training |",
        "|---|---|---|---|---|",
    ]
    for name, row in about["detectors"].items():
        read = "; ".join(f"{kind} of {item}" for kind, item in row["inputs"])
        threshold = "none" if row["threshold"] is None else f"{row['threshold']:.4g}"
        lines.append(f"| {name} | {row['method']['kind']} | {read} | {threshold} | {rendered_share(about, name):.0%} |")
    lines.append("")
    for name, row in about["inputs"]["renditions"].items():
        settings = ", ".join(f"{key} {value}" for key, value in row["settings"].items() if value != "")
        lines.append(f"- Rendition {name}: {settings}.")
    made = f"Made by the run {run}; b" if (run := about.get("lineage", {}).get("run")) else "B"
    lines += [f"- {made}undle.json beside this card has all settings, hashes and versions.", ""]
    return "\n".join(lines)


def caveats(about: Mapping[str, Any], name: str) -> list[str]:
    """Caveats about a detector's verdicts: rendered training data, random weights.

    Args:
        about: What a bundle says of itself.
        name: The detector.
    """
    found, weights = [], about["inputs"]["features"]["weights"]
    if any(is_synthetic(source) for source in about["sources"]):
        found.append("trained on rendered videos: the decisions say nothing about real faces")
    elif share := rendered_share(about, name):
        found.append(f"{share:.0%} of its training clips were rendered")
    if weights.startswith("random"):
        found.append(f"the backbone's weights are {weights}")
    return found
