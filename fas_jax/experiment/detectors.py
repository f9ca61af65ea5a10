"""Fitted detectors on disk: one file for each method and plan, in the run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import plain_name
from fas_jax.base.parameters import load_about, load_tree, save_tree
from fas_jax.methods.base import Detector, Failed, Method, identity
from fas_jax.training.checkpoints import describe_differences


class DetectorStore:
    """The detectors of one method of a run, one a plan.

    Args:
        folder: Of the run.
        name: Of the method.
        method: Its settings.
        data: What the detectors are fitted on, by plan, as a fingerprint.
        files: What the files that the settings name hold now, as `Method.files` gives it; None where nothing is fitted,
            so that they need not be there.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        method: Method,
        data: Mapping[str, str],
        files: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder / "detectors" / plain_name(name)
        self._name, self._method, self._data, self._files = name, method, data, files

    def path(self, plan: str) -> Path:
        """The file of a plan's detector."""
        return self._folder / f"{plain_name(plan)}.safetensors"

    def holds(self, plan: str) -> bool:
        """Whether the plan's detector, or the note that its fitting failed, is there.

        Raises:
            UserError: It is one of other settings, data or method version.
        """
        if not self.path(plan).exists():
            return False
        self._compare(plan, load_about(self.path(plan)))
        return True

    def save(self, plan: str, found: Detector | Failed) -> None:
        """Writes a plan's detector, or why there is none."""
        about: dict[str, Any] = {"method": identity(self._method), "data": self._data[plan]}
        if self._files:
            about["files"] = dict(self._files)
        if isinstance(found, Failed):
            save_tree(self.path(plan), {}, {**about, "failed": found.reason})
            return
        params = jax.tree.map(np.asarray, found.params)
        save_tree(self.path(plan), params, {**about, "about": dict(found.about)})

    def load(self, plan: str) -> Detector | Failed:
        """A plan's detector, or why there is none.

        Raises:
            UserError: The file is missing or damaged, or holds a detector of other settings or data.
        """
        params, about = load_tree(self.path(plan))
        self._compare(plan, about)
        if "failed" in about:
            return Failed(about["failed"])
        return self._method.rebuild(params, about["about"])

    def _compare(self, plan: str, about: Mapping[str, Any]) -> None:
        expected = {"method": identity(self._method), "data": self._data[plan]}
        known = {name: about.get(name) for name in expected}
        if differences := describe_differences(known, expected):
            raise UserError(
                f"{self.path(plan)} holds a detector that was fitted otherwise ({'; '.join(differences)}); choose "
                "another --name, or remove the run's folder"
            )
        before, now = about.get("files", {}), self._files or {}
        if changed := [name for name in now if now[name] != before.get(name)]:
            told = "; ".join(
                f"{name} = {getattr(self._method, name)!r} had the SHA-256 {str(before.get(name))[:12]}..., and has "
                f"{now[name][:12]}... now"
                for name in changed
            )
            raise UserError(
                f"methods.{self._name}: a file is another one than {self.path(plan)} was fitted from: {told}. Put the "
                "old file back, or choose another --name to train from the new one"
            )
