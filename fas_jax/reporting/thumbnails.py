"""Small pictures of single videos' frames for a report, from prepared datasets."""

import base64
from collections.abc import Collection, Sequence

import cv2

from fas_jax.datasets.prepared import Prepared

_HEIGHT = 96
_MOST_FRAMES = 4
_QUALITY = 80


def read_thumbnails(
    prepared: Sequence[Prepared], wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """JPEG data URIs of up to four frames of each wanted (dataset, video path), in the dataset's first rendition.

    Tiles are shown where there is no other rendition. Videos that are not at hand are left out.
    """
    # Only here: Grain, which reads the frames, imports JAX.
    from fas_jax.datasets.loading import FrameClips

    found = {}
    for dataset in prepared:
        if not any(name == dataset.dataset for name, _ in wanted):
            continue
        for shard in dataset.shards:
            rows = [i for i, (video, _) in enumerate(dataset.clips(shard)) if (video.dataset, video.path) in wanted]
            if not rows:
                continue
            videos = [video for video, _ in dataset.clips(shard)]
            # Tiles are no pictures of a face.
            renditions = sorted(dataset.renditions, key=lambda name: bool(dataset.renditions[name].get("tiles")))
            clips = FrameClips(dataset, [shard], renditions[0])
            for row in rows:
                frames = clips[row]["sequence"]
                step = max(1, -(-len(frames) // _MOST_FRAMES))
                found[videos[row].dataset, videos[row].path] = tuple(_jpeg(frame) for frame in frames[::step])
    return found


def _jpeg(frame: cv2.typing.MatLike) -> str:
    size = round(frame.shape[1] * _HEIGHT / frame.shape[0]), _HEIGHT
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode()
