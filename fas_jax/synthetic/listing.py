"""The list of a rendered dataset's videos, before any of them is rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fas_jax.base.settings import Synthesis
from fas_jax.datasets.layout import Layout, Listing, Tree, list_tree
from fas_jax.synthetic.layouts import protocol_files
from fas_jax.synthetic.plan import LETTERS, planned_videos


@dataclass(frozen=True)
class _Planned(Tree):
    """A dataset's folder whose protocol files are in memory and whose videos do not exist yet."""

    texts: Mapping[str, str] = field(default_factory=dict)

    def lines(self, path: str) -> list[str]:
        return [line.strip() for line in self.texts[path].splitlines() if line.strip()]


def planned_listing(layout: Layout, root: Path, settings: Synthesis) -> Listing:
    """What `scan` will find in `root` once `render_dataset` has filled it, but for annotations.

    Raises:
        UserError: Settings that cannot be met.
    """
    videos = planned_videos(layout.name, settings)
    texts = protocol_files(layout.name, videos)
    paths = tuple(sorted([*(video.path for video in videos), *texts]))
    tree = _Planned(root, paths, (), texts)
    return list_tree(layout, tree, f"synth-{LETTERS[layout.name]}", {})
