"""Makes the networks in fas_jax/pixels/mtcnn and tests/golden/mtcnn.json with facenet-pytorch.

The package pins old releases of PyTorch and Pillow, so it needs an environment of its own, which also needs onnx,
opencv-python-headless and scikit-image:

    python -m tests.make_golden_mtcnn

A second run gives the same networks to the bit with the same PyTorch and onnx; `FILES` in fas_jax/pixels/mtcnn holds
their hashes.
"""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN

from tests.mtcnn_cases import computed, shared_faces

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = {"pnet": ["box", "prob"], "rnet": ["box", "prob"], "onet": ["box", "points", "prob"]}
SIDES = {"pnet": 40, "rnet": 24, "onet": 48}


def convert(networks: MTCNN) -> None:
    """Writes the three networks as ONNX."""
    for name, outputs in OUTPUTS.items():
        path = ROOT / "fas_jax" / "pixels" / "mtcnn" / f"{name}.onnx"
        axes = {2: "height", 3: "width"} if name == "pnet" else {0: "number"}
        torch.onnx.export(
            getattr(networks, name).eval(),
            (torch.zeros(1, 3, SIDES[name], SIDES[name]),),
            str(path),
            input_names=["pixels"],
            output_names=outputs,
            dynamic_axes=dict.fromkeys(("pixels", *outputs), axes),
            opset_version=13,
            dynamo=False,
        )
        print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def found(networks: MTCNN, picture: np.ndarray) -> list[list[float]]:
    """Rows of x, y, width, height, five points and score of the package's own faces."""
    boxes, scores, points = networks.detect(np.ascontiguousarray(picture[..., ::-1]), landmarks=True)
    if boxes is None:
        return []
    rows = [
        [*box[:2], *(box[2:] - box[:2]), *marks.ravel(), score]
        for box, marks, score in zip(boxes, points, scores, strict=True)
    ]
    return [[round(float(value), 4) for value in row] for row in rows]


networks = MTCNN(keep_all=True)
convert(networks)
golden = {name: found(networks, picture) for name, picture in computed().items()}
golden |= {name: found(networks, cv2.imread(str(path))) for name, path in shared_faces().items()}
lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in golden.items())
(ROOT / "tests" / "golden" / "mtcnn.json").write_text("{\n" + lines + "\n}\n")
