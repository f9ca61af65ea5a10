"""EfficientNet-Lite in plain PyTorch, written from the paper's table; names as in the published files."""

from torch import Tensor, nn
from torch.nn.functional import pad

# Kernel, stride, expansion, outputs of each block: Lite0, and Lite2, which is wider by 1.1 and deeper by 1.2.
BLOCKS = [
    (3, 1, 1, 16),
    (3, 2, 6, 24), (3, 1, 6, 24),
    (5, 2, 6, 40), (5, 1, 6, 40),
    (3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80),
    (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112),
    (5, 2, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192),
    (3, 1, 6, 320),
]  # fmt: skip
LITE2 = [
    (3, 1, 1, 16),
    (3, 2, 6, 24), (3, 1, 6, 24), (3, 1, 6, 24),
    (5, 2, 6, 48), (5, 1, 6, 48), (5, 1, 6, 48),
    (3, 2, 6, 88), (3, 1, 6, 88), (3, 1, 6, 88), (3, 1, 6, 88),
    (5, 1, 6, 120), (5, 1, 6, 120), (5, 1, 6, 120), (5, 1, 6, 120),
    (5, 2, 6, 208), (5, 1, 6, 208), (5, 1, 6, 208), (5, 1, 6, 208), (5, 1, 6, 208),
    (3, 1, 6, 352),
]  # fmt: skip


class Same(nn.Conv2d):
    """Pads as TensorFlow's SAME: an odd pixel goes to the end."""

    def forward(self, x: Tensor) -> Tensor:
        (k, _), (s, _) = self.kernel_size, self.stride
        total = [max((-n % s or s) and k - (n % s or s), 0) for n in (x.shape[3], x.shape[2])]
        return super().forward(pad(x, [side for t in total for side in (t // 2, t - t // 2)]))


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    def __init__(self, inputs: int, kernel: int, stride: int, expand: int, outputs: int) -> None:
        super().__init__()
        width = inputs * expand
        if expand > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(inputs, width, 1, bias=False), norm(width)
        self._depthwise_conv = Same(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = norm(width)
        self._project_conv, self._bn2 = nn.Conv2d(width, outputs, 1, bias=False), norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self._bn0(self._expand_conv(x)).clamp(0, 6) if hasattr(self, "_expand_conv") else x
        y = self._bn1(self._depthwise_conv(y)).clamp(0, 6)
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    def __init__(self, blocks: list[tuple[int, int, int, int]] = BLOCKS, head: int = 1280) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, 32, 3, 2, bias=False), norm(32)
        inputs = [32, *(outputs for *_, outputs in blocks)]
        self._blocks = nn.ModuleList([Block(n, *block) for n, block in zip(inputs, blocks, strict=False)])
        self._conv_head, self._bn1 = nn.Conv2d(inputs[-1], head, 1, bias=False), norm(head)
        self._fc = nn.Linear(head, 1000)
        self.strides = [stride for _, stride, *_ in blocks]

    def layers(self, frames: Tensor) -> list[Tensor]:
        """Outputs of stem, blocks and head for uint8 frames [b h w 3], each as [b h w c]."""
        x = ((frames.to(self._fc.weight.dtype) - 127) / 128).permute(0, 3, 1, 2)
        outputs = [self._bn0(self._conv_stem(x)).clamp(0, 6)]
        for block in self._blocks:
            outputs.append(block(outputs[-1]))
        outputs.append(self._bn1(self._conv_head(outputs[-1])).clamp(0, 6))
        return [output.permute(0, 2, 3, 1) for output in outputs]

    def maps(self, frames: Tensor) -> dict[int, Tensor]:
        """The last map [b c h w] of every stride, of frames [b h w 3]."""
        found, stride = {}, 2
        for step, output in zip([1, *self.strides, 1], self.layers(frames), strict=True):
            stride *= step
            found[stride] = output.permute(0, 3, 1, 2)
        return found

    def forward(self, frames: Tensor) -> Tensor:
        """Features [b d] of frames [b h w 3]."""
        return self.layers(frames)[-1].mean((1, 2))
