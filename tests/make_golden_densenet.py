"""Makes tests/golden/densenet.safetensors with PyTorch: python -m tests.make_golden_densenet"""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from tests.backbone_cases import DENSENET_CASES, densenet_tensors, frames
from tests.torch_densenet import DenseNet

golden = {}
for name, (shape, size) in DENSENET_CASES.items():
    network = DenseNet(shape.layers, shape.growth, shape.stem, shape.bottleneck).eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in densenet_tensors(shape).items()})
    # In double precision: what is compared with should be nearer to the truth than what is tested.
    with torch.inference_mode():
        golden[name] = network.double()(torch.from_numpy(frames(size))).numpy().astype(np.float32)
    print(name, golden[name].shape, golden[name].mean(), golden[name].std())
save_file(golden, Path(__file__).parent / "golden" / "densenet.safetensors")
