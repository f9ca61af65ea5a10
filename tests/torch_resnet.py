"""ResNet in plain PyTorch, written from the paper's table; names as in torchvision's published files."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        if stride > 1 or inputs != width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return ((self.downsample(x) if hasattr(self, "downsample") else x) + y).relu()


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return ((self.downsample(x) if hasattr(self, "downsample") else x) + self.bn3(self.conv3(y))).relu()


class ResNet(nn.Module):
    def __init__(
        self, blocks: tuple[int, ...], bottleneck: bool, widths: tuple[int, ...] = (64, 128, 256, 512)
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(3, 2, 1)
        inputs, kind, expansion = widths[0], Bottleneck if bottleneck else Block, 4 if bottleneck else 1
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
            stage = nn.Sequential()
            for i in range(count):
                stage.append(kind(inputs, width, 2 if number > 1 and i == 0 else 1))
                inputs = expansion * width
            self.add_module(f"layer{number}", stage)
        self.count = len(widths)
        self.fc = nn.Linear(inputs, 1000)

    def maps(self, frames: Tensor) -> dict[int, Tensor]:
        """The last map [b c h w] of every stride, of frames [b h w 3]."""
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = ((frames.to(self.fc.weight.dtype) / 255 - mean) / deviation).permute(0, 3, 1, 2)
        x, found = self.pool(self.bn1(self.conv1(x)).relu()), {}
        for number in range(1, self.count + 1):
            x = found[2 * 2**number] = getattr(self, f"layer{number}")(x)
        return found

    def forward(self, frames: Tensor) -> Tensor:
        """Features [b d] of frames [b h w 3]."""
        return list(self.maps(frames).values())[-1].mean((2, 3))
