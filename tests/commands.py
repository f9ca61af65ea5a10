"""The scripts in processes of their own, and a whole experiment for them, as small as it goes."""

import os
import subprocess
from pathlib import Path

from tests.background import ROOT, ended, start

# Four datasets, few subjects, tiny videos.
DATA = """
name = "tiny"
[data]
synthesize = true
[synthesis]
subjects = 9
videos_per_subject = 4
frames = 12
scale = 0.05
[preparation]
videos_per_shard = 16
[renditions.whole]
segment = 6
size = 64
[features]
backbone = "efficientnet_lite0"
weights = "random"
batch_size = 16
[folds]
count = 2
[evaluation]
targets = ["M", "I"]
validation_fraction = 0.3
"""
QUICK = 'learning_rate = 1e-2\nmax_epochs = 4\nvalidate_every = 2\npatience = 4\nmonitor = "loss"\n'
NETWORKS = {"lstm": "lstm", "bilstm": "bilstm", "gru": "gru", "meta": "lstm-stack"}
BASELINES = ("mean-feature", "colour", "metadata")
TINY = (
    DATA
    + "".join(f'[methods.{name}]\nkind = "{kind}"\nhidden = 4\n{QUICK}' for name, kind in NETWORKS.items())
    + "".join(f'[methods.{name}]\nkind = "{name}"\n' for name in BASELINES)
)


def script(name: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script; `PYTHONPATH` in the environment goes before the project."""
    paths = os.pathsep.join([*filter(None, [environment.pop("PYTHONPATH", "")]), str(ROOT)])
    process = start(ROOT / "scripts" / f"{name}.py", *arguments, cwd=cwd, PYTHONPATH=paths, **environment)
    output, errors = ended(process, None)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def done(name: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """As `script`, which has to end well."""
    found = script(name, *arguments, cwd=cwd, **environment)
    assert found.returncode == 0, found.stderr[-3000:]
    return found


def refused(name: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> str:
    """What a script says that refuses its arguments, in one line."""
    found = script(name, *arguments, cwd=cwd, **environment)
    assert found.returncode == 2, found.stderr[-3000:]
    assert "Traceback" not in found.stderr
    return found.stderr
