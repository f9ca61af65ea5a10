"""The layouts by name, and which of them a folder has. Imports no TFDS."""

from pathlib import Path

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.datasets import casia_fasd, msu_mfsd, oulu_npu, replay_attack
from fas_jax.datasets.layout import Layout, Listing, list_videos

LAYOUTS: dict[str, Layout] = {
    package.LAYOUT.name: package.LAYOUT for package in (oulu_npu, casia_fasd, replay_attack, msu_mfsd)
}


def detect_layout(root: Path) -> Layout:
    """The layout of a dataset folder, told by the names at its top, upper and lower case alike.

    Raises:
        UserError: the folder is missing, or shows no known layout, or several.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"dataset folder {root} does not exist")
    try:
        names = {path.name.lower() for path in root.iterdir()}
        names |= {f"{top.name}/{path.name}".lower() for top in root.iterdir() if top.is_dir() for path in top.iterdir()}
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    found = [layout for layout in LAYOUTS.values() if names & set(layout.signs)]
    if len(found) == 1:
        return found[0]
    looked = "; ".join(f"{layout.name}: {', '.join(layout.signs)}" for layout in LAYOUTS.values())
    if not found:
        raise UserError(f"{root} has no known layout. Looked at its top for any of - {looked}")
    several = ", ".join(layout.name for layout in found)
    raise UserError(f"{root} shows several layouts ({several}); name one by --layout")


def scan(root: Path, layout: str | None = None) -> Listing:
    """Reads the names and protocol files of a dataset folder; opens no video.

    Args:
        root: The folder in an official layout.
        layout: The layout's name, a key of `LAYOUTS`; None finds it out.
    """
    root = Path(root)
    if layout is None:
        return list_videos(detect_layout(root), root)
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if not root.is_dir():
        raise UserError(f"dataset folder {root} does not exist")
    return list_videos(LAYOUTS[layout], root)
