"""Trainings of `tests.tiny_network` in plain PyTorch, float64: ERM, SSDG and SA-FAS, written from their publications.

Nothing here is of the package. Tensors are named by the path of ours, `head/classifier/kernel` for example.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812, as everybody calls it

Tensors = dict[str, Tensor]
Batch = Mapping[str, np.ndarray]
Rule = Callable[[int], float]
"""From a step's number to its learning rate."""


class Tiny:
    """The network, its tensors and its running statistics."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        doubles = {name: torch.tensor(array, dtype=torch.float64) for name, array in arrays.items()}
        self.stats = {name: value for name, value in doubles.items() if name.startswith("stats/")}
        self.params = {name: value.requires_grad_() for name, value in doubles.items() if name not in self.stats}

    def layer(self, place: str, x: Tensor, stride: int, groups: int = 1) -> Tensor:
        weight = self.params[f"backbone/{place}/kernel"].permute(3, 2, 0, 1)
        if weight.shape[2] == 3:  # at stride 2, TensorFlow pads below and to the right
            x = F.pad(x, (0, 1, 0, 1))
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        scale, bias = (self.params[f"backbone/{place}/{name}"] for name in ("scale", "bias"))
        mean, variance = (self.stats[f"stats/{place}/{name}"] for name in ("mean", "variance"))
        return F.batch_norm(x, mean, variance, scale, bias, training=True, momentum=0.1, eps=1e-3)

    def features(self, frames: np.ndarray) -> Tensor:
        x = ((torch.tensor(frames, dtype=torch.float64) - 127) / 64).permute(0, 3, 1, 2)
        x = self.layer("stem", x, 2).relu()
        x = self.layer("block/deep", x, 2, groups=x.shape[1]).relu()
        return self.layer("block/wide", x, 1).relu().mean((2, 3))

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.params[f"{name}/kernel"] + self.params[f"{name}/bias"]


class Loss:
    """What a method adds to the network: its loss, and what it does to parameters before and after a step."""

    def __init__(self, net: Tiny, domains: int) -> None:
        self.net, self.domains = net, domains

    def before(self) -> None:
        pass

    def after(self, step: int) -> None:
        pass

    def __call__(self, batch: Batch, masks: Sequence[np.ndarray], step: int) -> Tensor:
        raise NotImplementedError


class Erm(Loss):
    """The mean cross-entropy."""

    def __call__(self, batch: Batch, masks: Sequence[np.ndarray], step: int) -> Tensor:
        logits = self.net.linear("head", self.net.features(batch["frames"]))
        return F.cross_entropy(logits, torch.tensor(batch["labels"]).long())


class Reverse(torch.autograd.Function):
    """Identity whose gradient changes its sign."""

    @staticmethod
    def forward(ctx, x, coefficient):
        ctx.coefficient = coefficient
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.coefficient * gradient, None


class SingleSide(Loss):
    """SSDG with the release's oddities; lambda 1 and 2 are 2 and 0.1, as for OULU-NPU."""

    steps = 50

    def before(self) -> None:
        weight = self.net.params["head/classifier/kernel"]
        # PyTorch's layer is [2 512]; its axis 0 is the second here.
        weight.data = weight.data / weight.data.norm(dim=1, keepdim=True)

    def __call__(self, batch: Batch, masks: Sequence[np.ndarray], step: int) -> Tensor:
        labels, domains = (torch.tensor(batch[name]).long() for name in ("labels", "domains"))
        kept, hidden_kept = (torch.tensor(mask, dtype=torch.float64) / 0.5 for mask in masks)
        f = self.net.linear("head/bottleneck", self.net.features(batch["frames"])).relu() * kept
        f = f / (f.norm(dim=1, keepdim=True).clamp(min=1e-12) ** 0.5 * 2**0.5)
        loss = F.cross_entropy(self.net.linear("head/classifier", f), labels)
        loss = loss + 2 * self.triplets(f, torch.where(labels == 1, 0, domains + 1))
        live = labels == 1
        coefficient = 2 / (1 + math.exp(-10 * (step + 1) / self.steps)) - 1
        hidden = self.net.linear("head/first", Reverse.apply(f[live], coefficient)).relu() * hidden_kept[live]
        return loss + 0.1 * F.cross_entropy(self.net.linear("head/second", hidden), domains[live])

    @staticmethod
    def triplets(f: Tensor, classes: Tensor) -> Tensor:
        """By the distances' polarisation: |a|^2 - 2 a.b + |b|^2."""
        products = f @ f.T
        squares = (products.diag()[:, None] - 2 * products + products.diag()[None]).relu()
        zero = (squares < 1e-15).double()
        d = (squares + zero).sqrt() * (1 - zero)
        found = []
        for a in range(len(f)):
            for p in range(len(f)):
                if p != a and classes[p] == classes[a]:
                    found.append((d[a, p] - d[a] + 0.1)[classes != classes[a]])
        lengths = torch.cat(found).relu()
        return lengths.sum() / max(int((lengths > 0).sum()), 1)


class DomainHeads(Loss):
    """SA-FAS; heads are aligned from step 20 on."""

    def __call__(self, batch: Batch, masks: Sequence[np.ndarray], step: int) -> Tensor:
        count = len(batch["labels"])
        # As in the release: all first views, then all second ones.
        frames = np.concatenate([batch["frames"][:, 0], batch["frames"][:, 1]])
        labels, domains = (torch.tensor(np.tile(batch[name], 2)).long() for name in ("labels", "domains"))
        features = self.net.features(frames)
        odds = torch.sigmoid(self.net.linear("head", features))
        loss = torch.zeros((), dtype=torch.float64)
        for domain in range(self.domains):
            own = domains == domain
            if own.any():
                loss = loss + F.binary_cross_entropy(odds[own, domain], labels[own].double()) / self.domains
        unit, classes = F.normalize(features), 10 * domains + labels
        terms = []
        for i in range(2 * count):
            others = [k for k in range(2 * count) if k != i]
            logits = unit[others] @ unit[i] / 0.1
            alike = classes[others] == classes[i]
            terms.append(-torch.log_softmax(logits, 0)[alike].mean())
        return loss + 0.1 * (0.1 / 0.07) * torch.stack(terms).mean()

    def after(self, step: int) -> None:
        if step < 20:
            return
        kernel = self.net.params["head/kernel"]
        heads = [kernel.data[:, k].clone() for k in range(self.domains)]
        unit = [head / (head.norm() + 1e-10) for head in heads]
        for k, head in enumerate(heads):
            far = min((j for j in range(self.domains) if j != k), key=lambda j: float(unit[j] @ unit[k]))
            mixed = 0.995 * unit[k] + 0.005 * unit[far]
            kernel.data[:, k] = mixed / (mixed.norm() + 1e-10) * head.norm()


LOSSES: dict[str, type[Loss]] = {"finetune": Erm, "ssdg": SingleSide, "safas": DomainHeads}


def train(
    name: str,
    arrays: Mapping[str, np.ndarray],
    batches: Callable[[int], Batch],
    masks: Callable[[int], Sequence[np.ndarray]],
    rate: Rule,
    steps: int,
    domains: int,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Losses of all steps, and parameters and statistics after the last one.

    Gradient descent with momentum 0.9, and with weight decay 5e-4 of everything, or Adam with it for `finetune`.
    """
    net = Tiny(arrays)
    loss_of = LOSSES[name](net, domains)
    if name == "finetune":
        optimiser: torch.optim.Optimizer = torch.optim.Adam(net.params.values(), lr=1, weight_decay=5e-4)
    else:
        optimiser = torch.optim.SGD(net.params.values(), lr=1, momentum=0.9, weight_decay=5e-4)
    losses = []
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate(step)
        optimiser.zero_grad()
        loss_of.before()
        loss = loss_of(batches(step), masks(step), step)
        loss.backward()
        optimiser.step()
        loss_of.after(step)
        losses.append(loss.item())
    loss_of.before()
    found = {place: value.detach().numpy() for place, value in (net.params | net.stats).items()}
    return np.array(losses), found
