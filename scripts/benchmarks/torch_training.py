"""The training of networks on frames written plainly in PyTorch, for `scripts.benchmarks.finetuning`."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from scripts.benchmarks.timing import Loop, timed_loop


class TorchTraining:
    """A network with the training step that fits it: AdamW, cross-entropy, an exponential average of the weights.

    Args:
        network: `resnet18` or `efficientnet_lite0`, as `tests/torch_resnet.py` and `tests/torch_efficientnet_lite.py`
            write them.
        precision: Autocast to bfloat16, or none.
        batch: Frames of a step.
        compiled: Whether `torch.compile` makes the forward and backward pass.
    """

    def __init__(self, network: str, precision: Literal["float32", "bfloat16"], batch: int, compiled: bool) -> None:
        import torch

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._batch, self._half = batch, precision == "bfloat16"
        torch.manual_seed(0)
        self._model = _module(network).to(self._device).to(memory_format=torch.channels_last).train()
        self._averaged = [value.detach().clone() for value in self._model.parameters()]
        self._optimiser = torch.optim.AdamW(
            self._model.parameters(), 1e-4, weight_decay=1e-4, fused=self._device == "cuda"
        )
        self._forward: Any = self._model
        if compiled:
            import torch._inductor.config as inductor

            torch._dynamo.reset()
            # Its compiler's worker processes are forked, which JAX's threads do not survive.
            inductor.compile_threads = 1
            self._forward = torch.compile(self._model, dynamic=False)

    def _step(self, frames: Any, labels: Any) -> None:
        import torch

        # The modules make constants of their own, which are to be where the frames are.
        with torch.device(self._device), torch.autocast(self._device, torch.bfloat16, enabled=self._half):
            loss = torch.nn.functional.cross_entropy(self._forward(frames), labels, label_smoothing=0.05)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._averaged, list(self._model.parameters()), 0.02)
        if self._device == "cuda":
            torch.cuda.synchronize()

    def bare(self, frames: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
        """A step whose batch is on the device."""
        import torch

        inputs, targets = (torch.from_numpy(each).to(self._device) for each in (frames, labels.astype(np.int64)))
        return lambda: self._step(inputs, targets)

    @contextlib.contextmanager
    def loop(self, files: list[Path], workers: int) -> Iterator[Loop]:
        """Steps on batches of PyTorch's own loader."""
        import torch

        loader = torch.utils.data.DataLoader(
            Files(files),
            self._batch,
            sampler=torch.utils.data.RandomSampler(range(len(files)), replacement=True, num_samples=10**9),
            num_workers=workers,
            pin_memory=self._device == "cuda",
            drop_last=True,
            persistent_workers=bool(workers),
            # Forked, they would inherit JAX's threads.
            multiprocessing_context="spawn" if workers else None,
        )

        def step(batch: Any) -> None:
            self._step(*(each.to(self._device, non_blocking=True) for each in batch))

        yield timed_loop(iter(loader), step)


class Files:
    """Frames from files, flipped at random, with their labels: a data set of PyTorch's."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image = cv2.imread(str(self._files[index]))
        assert image is not None
        # RGB, and flipped or not.
        return np.ascontiguousarray(image[:, :: np.random.default_rng().choice([-1, 1]), ::-1]), index % 2


def _module(network: str) -> Any:
    """The network with two logits, from uint8 frames [b h w 3]."""
    import torch

    from tests.torch_efficientnet_lite import EfficientNetLite
    from tests.torch_resnet import ResNet

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone: Any = ResNet((2, 2, 2, 2), False) if network == "resnet18" else EfficientNetLite()
            self.head = torch.nn.Linear(512 if network == "resnet18" else 1280, 2)
            self.dropout = torch.nn.Dropout(0.2)

        def forward(self, frames: Any) -> Any:
            return self.head(self.dropout(self.backbone(frames)))

    return Classifier()
