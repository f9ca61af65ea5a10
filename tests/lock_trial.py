"""One of several processes that share their job's lock, under scripts/launch.py, with options FOLDER SECONDS."""

import sys
import time
from pathlib import Path

from fas_jax.base.errors import UserError
from fas_jax.runtime import devices

if __name__ == "__main__":
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    devices.join()
    try:
        # As a run holds its lock over several stages, each of which takes it again.
        with devices.job_locked(folder, "wait"), devices.job_locked(folder, "wait"):
            print("held", flush=True)
            time.sleep(seconds)
        devices.wait_for_all("the end")
    except UserError as error:
        sys.exit(f"error: {error}")
