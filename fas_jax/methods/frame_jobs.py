"""Prepares the training of a network on frames (the clips that it draws from), and reports failures."""

import warnings
from collections.abc import Sequence

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.methods.base import Desk, Detector, Failed, Job
from fas_jax.methods.data import Clips, Rows, Task
from fas_jax.methods.frame_settings import FrameSettings
from fas_jax.training.drawing import Sampler, make_sampler


def clips_with_frames(method: FrameSettings, clips: Clips, task: Task) -> tuple[Rows, Rows, Rows]:
    """The clips that train, those that validate, and rendered ones, without those that have too few frames."""
    (item,) = method.inputs()
    present: np.ndarray = np.sum(clips.mask(item), axis=1) >= method.least_frames
    train, validation, rendered = (part[present[part]] for part in (task.train, task.validation, task.rendered))
    return train, validation, rendered


def sampler_of(method: FrameSettings, clips: Clips, task: Task, title: str) -> Sampler:
    """The sampler from which the steps of a training draw.

    Raises:
        UserError: The validation clips lack a class, or as `make_sampler`.
    """
    train, validation, rendered = clips_with_frames(method, clips, task)
    labels = clips.labels[validation]
    if missing := [word for word, label in (("bona fide", 1), ("attack", 0)) if not (labels == label).any()]:
        raise UserError(f"run {task.name}: its validation clips hold no {' and no '.join(missing)} video")
    return make_sampler(
        method.balanced,
        method.per_class,
        train,
        clips.videos,
        task.seed,
        title,
        method.rare_every,
        rendered,
        method.rendered_share,
    )


def tell_failures(jobs: Sequence[Job], found: Sequence[Detector | Failed], desk: Desk, advice: str) -> None:
    """Warns of the jobs that failed.

    Raises:
        UserError: All of them failed, and no other command fits more.
    """
    failures = [
        f"{job.task.name}: {each.reason}" for job, each in zip(jobs, found, strict=True) if isinstance(each, Failed)
    ]
    said = f"{desk.name}: {'; '.join(failures)}; {advice}"
    if failures and not desk.quiet:
        if len(failures) == len(jobs) and not desk.part:
            raise UserError(said)
        warnings.warn(f"{said}; nothing that depends on these is scored", stacklevel=3)
