"""Makes tests/golden/state.{legacy,zip}.pth with PyTorch: python -m tests.make_golden_torch_files"""

from collections import OrderedDict
from pathlib import Path

import torch

shared = torch.arange(24, dtype=torch.float32)
state = OrderedDict(
    {
        "matrix": torch.arange(6, dtype=torch.float32).reshape(2, 3) / 7,
        "transposed": shared.reshape(4, 6).t(),
        "view": shared[5:9],
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "double": torch.tensor([[1e-300]], dtype=torch.float64),
        "count": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "flags": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
)
# What Module.state_dict attaches.
state._metadata = OrderedDict({"": {"version": 1}, "norm": {"version": 2}})
golden = Path(__file__).parent / "golden"
torch.save(state, golden / "state.legacy.pth", _use_new_zipfile_serialization=False)
torch.save(state, golden / "state.zip.pth")
