"""A vision transformer in plain PyTorch, written from the paper; names as in timm's published files."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Adapter(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(functional.gelu(self.down(x)))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        parts = [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=2)]
        return self.proj(functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, adapters: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width, heads), Perceptron(width, hidden)
        self.adapter1 = Adapter(width, adapters) if adapters else nn.Identity()
        self.adapter2 = Adapter(width, adapters) if adapters else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.adapter1(self.attn(self.norm1(x)))
        return x + self.adapter2(self.mlp(self.norm2(x)))


class ViT(nn.Module):
    def __init__(
        self, width: int, depth: int, heads: int, hidden: int, patch: int, grid: int, adapters: int = 0
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.blocks = nn.Sequential(*(Block(width, heads, hidden, adapters) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 1000)
        self.grid, self.patch = grid, patch

    def tokens(self, frames: Tensor) -> tuple[Tensor, tuple[int, int]]:
        x = (frames.to(self.head.weight.dtype) / 127.5 - 1).permute(0, 3, 1, 2)
        x = self.patch_embed["proj"](x)
        size = tuple(x.shape[2:])
        places = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        if size != (self.grid, self.grid):
            places = functional.interpolate(places, size, mode="bicubic", antialias=True, align_corners=False)
        x = (x + places).flatten(2).transpose(1, 2)
        token = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        return self.norm(self.blocks(torch.cat([token, x], 1))), size

    def maps(self, frames: Tensor) -> dict[int, Tensor]:
        """The map [b c h w] of its only stride, of frames [b h w 3]."""
        x, size = self.tokens(frames)
        return {self.patch: x[:, 1:].transpose(1, 2).unflatten(2, size)}

    def forward(self, frames: Tensor) -> Tensor:
        """The class token [b d] of frames [b h w 3]."""
        return self.tokens(frames)[0][:, 0]
