"""Makes tests/golden/trainable.safetensors with PyTorch, in float64: python -m tests.make_golden_trainable"""

from pathlib import Path

from safetensors.numpy import save_file

from tests.backbone_cases import frames
from tests.small_networks import SMALL, digest, peers

golden = {
    f"{family}/{name}": digest(name, value)
    for family, small in SMALL.items()
    for name, value in peers(small, frames(small.frames)).items()
}
save_file(golden, Path(__file__).parent / "golden" / "trainable.safetensors")
