"""Serves a local page that judges a camera or a file with a bundle while it runs."""

import asyncio
import io
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fas_jax.base.errors import UserError
from fas_jax.runtime import cli

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fas_jax.deployment.bundle import Bundle
    from fas_jax.deployment.demo.sessions import Drawn
    from fas_jax.deployment.given_frames import Frames
    from fas_jax.deployment.verdict import Verdict

FRAMES_CHECKED = 3
"""Of the latest frames, by the gate; each takes a search for faces."""


def main(
    bundle: Annotated[Path | None, tyro.conf.Positional] = None,
    detector: str = "",
    gate: bool = True,
    host: str = "127.0.0.1",
    port: int = 8765,
) -> None:
    """Prints the address of a page for a browser on this machine, and serves it until Ctrl-C.

    The page shows the verdict on the latest frames of a camera, or of a file that you choose, and which pixels decide.
    Nothing leaves this machine.

    Args:
        bundle: Folder of a bundle. Without it, the model that comes with the package decides; it was trained on
            rendered faces alone and has seen no real attack.
        detector: Name of the deciding method. If empty, the first method that reads other methods' scores decides, or
            else the first method.
        gate: Whether to check first that the frames show one face, and show it well; the page says what to do if not.
        host: An address of this machine that no other machine reaches.
        port: 0 takes any free one.
    """
    try:
        import tornado  # noqa: F401
    except ImportError:
        raise UserError(
            "fas-jax demo needs the web server Tornado, which is not installed: pip install 'fas-jax[demo]', or in a "
            "checkout pip install -c constraints.txt -e '.[weights,demo]'"
        ) from None
    from fas_jax.deployment.bundle_folder import SHIPPED, load_bundle
    from fas_jax.deployment.demo.address import loopback
    from fas_jax.deployment.demo.server import serve
    from fas_jax.deployment.demo.sessions import Judge
    from fas_jax.pixels.gate.settings import Gate
    from fas_jax.runtime.programs import keep_programs

    address = loopback(host)
    keep_programs()
    loaded = load_bundle(bundle or SHIPPED)
    name = detector or loaded.default
    for caveat in loaded.caveats(name):
        print(caveat, file=sys.stderr)
    judge = Judge(loaded, name, overlays(loaded, name), Gate(frames=FRAMES_CHECKED) if gate else None)
    asyncio.run(serve(judge, address, port, lambda url: print(f"open {url} in a browser; Ctrl-C ends it", flush=True)))


def overlays(bundle: "Bundle", name: str) -> "Drawn | None":
    """What draws the pixels that decide; None for a detector that is no function of pixels."""
    import numpy as np

    from fas_jax.deployment.attribution import Maps
    from fas_jax.deployment.chain import chain_of
    from fas_jax.reporting.overlays import overlay_figure
    from fas_jax.studies.overlays import overlay_of

    try:
        maps = Maps.of(chain_of(bundle, name), "gradient")
    except UserError as error:
        print(f"no overlays: {error}", file=sys.stderr)
        return None

    def drawn(verdict: "Verdict", read: "Mapping[str, Frames]") -> bytes:
        frames = np.asarray(read[maps.chain.rendition])
        title = f"{verdict.decision}, score {verdict.score:.4g}"
        picture = io.BytesIO()
        figure = overlay_figure([overlay_of(maps, frames, title, verdict.decision == "bona fide", 4)])
        figure.savefig(picture, format="png", metadata={"Software": None})
        return picture.getvalue()

    return drawn


command = partial(cli.main, main)
