"""DenseNet in plain PyTorch, written from the paper, with torchvision's names of modules; the tests' peer."""

import torch
from torch import Tensor, nn


class Layer(nn.Module):
    def __init__(self, inputs: int, growth: int, width: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(y)))], 1)


class Transition(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, inputs // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(self.conv(torch.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    def __init__(self, layers: tuple[int, ...], growth: int = 32, stem: int = 64, bottleneck: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, stem, 7, 2, 3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(stem))
        self.features.add_module("relu0", nn.ReLU())
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        channels = stem
        for b, count in enumerate(layers, start=1):
            block = nn.Sequential()
            for i in range(1, count + 1):
                block.add_module(f"denselayer{i}", Layer(channels, growth, bottleneck * growth))
                channels += growth
            self.features.add_module(f"denseblock{b}", block)
            if b < len(layers):
                self.features.add_module(f"transition{b}", Transition(channels))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, 10)

    def maps(self, frames: Tensor) -> dict[int, Tensor]:
        """The stem's map, those behind the transitions, and the last one [b c h w], by stride; of frames [b h w 3]."""
        dtype = self.classifier.weight.dtype
        mean = torch.tensor([0.485, 0.456, 0.406], dtype=dtype, device=frames.device)
        std = torch.tensor([0.229, 0.224, 0.225], dtype=dtype, device=frames.device)
        x = ((frames.to(dtype) / 255 - mean) / std).permute(0, 3, 1, 2)
        found, stride = {}, 4
        for name, module in self.features.named_children():
            x = module(x)
            if name == "pool0" or isinstance(module, Transition):
                found[stride] = x
                stride *= 2
        return found | {stride // 2: torch.relu(x)}

    def forward(self, frames: Tensor) -> Tensor:
        """Features of uint8 frames [b h w 3]."""
        return list(self.maps(frames).values())[-1].mean((2, 3))
