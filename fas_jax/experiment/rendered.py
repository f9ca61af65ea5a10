"""The rendered domains of an experiment ([rendered.NAME]) as datasets: their folders and the lists of their videos."""

from pathlib import Path

from fas_jax.base.declarations import key
from fas_jax.base.files import fingerprint
from fas_jax.base.record import ATTACK, BONA_FIDE, SPLITS, Source, Video
from fas_jax.base.rendered_settings import Rendered
from fas_jax.datasets.layout import Listing
from fas_jax.datasets.manifest import manifest_layout
from fas_jax.experiment.configuration import Experiment
from fas_jax.protocols.presets import SYNTHETIC
from fas_jax.synthetic import VERSION, render_variety
from fas_jax.synthetic.shifts import MANIFEST
from fas_jax.synthetic.variety import device_of, person_of, variety_videos


def render_domains(experiment: Experiment) -> None:
    """Renders the videos of every table that the cache does not hold yet."""
    for name, settings in experiment.rendered.items():
        render_variety(name, _folder(experiment, name), settings)


def rendered_listings(experiment: Experiment) -> list[Listing]:
    """The videos of every table as a dataset `synth-NAME`; they need not be rendered yet."""
    return [_listing(name, _folder(experiment, name), settings) for name, settings in experiment.rendered.items()]


def _folder(experiment: Experiment, name: str) -> Path:
    made = fingerprint([name, key(experiment.rendered[name]), VERSION])[:16]
    return Path(experiment.cache) / "rendered" / f"{name}-{made}"


def _listing(name: str, folder: Path, settings: Rendered) -> Listing:
    dataset = SYNTHETIC + name
    videos = [
        Video(
            path=each.path,
            dataset=dataset,
            subject=person_of(each),
            split=each.split,
            label=BONA_FIDE if each.bona_fide else ATTACK,
            pai=each.pai,
            pai_fine=each.fine,
            device=device_of(each),
            session="",
        )
        for each in variety_videos(name, settings)
    ]
    videos.sort(key=lambda video: (SPLITS.index(video.split), video.path))
    return Listing(
        layout=manifest_layout(folder / MANIFEST, name),
        root=folder.resolve(),
        dataset=dataset,
        videos=tuple(videos),
        unknown=(),
        missing=(),
        sources={video.path: Source() for video in videos},
    )
