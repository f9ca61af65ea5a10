"""Makes tests/golden/efficientnet_lite0.safetensors with PyTorch: python -m tests.make_golden_efficientnet_lite"""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from tests.backbone_cases import LITE0_CASES, frames, lite0_tensors, summary
from tests.torch_efficientnet_lite import EfficientNetLite

network = EfficientNetLite().eval()
network.load_state_dict({name: torch.from_numpy(value) for name, value in lite0_tensors().items()})
golden = {}
for name, size in LITE0_CASES.items():
    # In double precision: what is compared with should be nearer to the truth than what is tested.
    with torch.inference_mode():
        outputs = [output.numpy() for output in network.double().layers(torch.from_numpy(frames(size)))]
    golden[f"{name} features"] = outputs[-1].mean((1, 2)).astype(np.float32)
    golden[f"{name} layers"] = summary(outputs)
    print(name, golden[f"{name} features"].std(), golden[f"{name} layers"][:, 1])
save_file(golden, Path(__file__).parent / "golden" / "efficientnet_lite0.safetensors")
