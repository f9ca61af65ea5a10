"""ResNet-18 in plain PyTorch, written from the paper's table; names as in torchvision's published file."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return ((self.downsample(x) if hasattr(self, "downsample") else x) + y).relu()


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        widths = (64, 64, 128, 256, 512)
        for number in range(1, 5):
            inputs, outputs = widths[number - 1], widths[number]
            stage = nn.Sequential(Block(inputs, outputs, 1 if number == 1 else 2), Block(outputs, outputs, 1))
            self.add_module(f"layer{number}", stage)
        self.fc = nn.Linear(512, 1000)

    def forward(self, frames: Tensor) -> Tensor:
        """Features [b 512] of frames [b h w 3]."""
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = ((frames.to(self.fc.weight.dtype) / 255 - mean) / deviation).permute(0, 3, 1, 2)
        x = self.pool(self.bn1(self.conv1(x)).relu())
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return x.mean((2, 3))
