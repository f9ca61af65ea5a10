"""DeepPixBiS's loss and 50 steps of it in plain PyTorch, written from the paper; the tests' peer."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

LEARNING_RATE, DECAY = 1e-4, 1e-5


class DeepPixBiS(nn.Module):
    """What comes before the map, then the map and its classifier; pixels are normalised as ImageNet's."""

    def __init__(self, stem: nn.Module, channels: int, side: int) -> None:
        super().__init__()
        self.enc = stem
        self.dec = nn.Conv2d(channels, 1, 1)
        self.linear = nn.Linear(side * side, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.tensor([0.485, 0.456, 0.406], dtype=self.dec.weight.dtype)
        std = torch.tensor([0.229, 0.224, 0.225], dtype=self.dec.weight.dtype)
        x = ((frames.to(mean.dtype) / 255 - mean) / std).permute(0, 3, 1, 2)
        cells = torch.sigmoid(self.dec(self.enc(x)))
        return cells, torch.sigmoid(self.linear(cells.reshape(-1, self.linear.in_features)))


def losses(module: DeepPixBiS, steps: int, batch_of: Callable[[int], tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Trains the module, and returns the loss of every step."""
    kernels = [each for each in module.parameters() if each.ndim > 1]
    others = [each for each in module.parameters() if each.ndim == 1]
    groups = [{"params": kernels, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimiser, criterion = torch.optim.AdamW(groups, lr=LEARNING_RATE), nn.BCELoss()
    found = []
    module.train()
    for step in range(steps):
        frames, labels = (torch.from_numpy(each) for each in batch_of(step))
        cells, score = module(frames)
        wanted = labels.to(cells.dtype)
        of_cells = criterion(cells, wanted[:, None, None, None].expand_as(cells))
        loss = 0.5 * of_cells + 0.5 * criterion(score[:, 0], wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(float(loss.detach()))
    return found
