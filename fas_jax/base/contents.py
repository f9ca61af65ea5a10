"""Whether a file still holds the same bytes: its size and times are compared first, and its hash where they differ."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fas_jax.base.errors import UserError
from fas_jax.base.files import inside, sha256_file


@dataclass(frozen=True, slots=True)
class FileState:
    """The state of a file when it was read."""

    size: int
    """Bytes; -1 where there was no plain file, or only a link that leads out of the folder."""
    modified_ns: int
    changed_ns: int
    """Time of the last change of the file or of anything about it, such as its name."""
    sha256: str
    """Hex, of its bytes."""

    @classmethod
    def of(cls, root: Path, path: str) -> "FileState":
        """The state of `root / path`; reads all of its bytes."""
        try:
            file = inside(root, path)
            found = file.stat()
            # Opening a pipe would wait for a writer.
            if stat.S_ISREG(found.st_mode):
                return cls(*_marks(found), sha256_file(file))
        except (UserError, OSError):
            pass
        return cls(-1, 0, 0, "")

    def now(self, root: Path, path: str) -> "FileState":
        """The state of `root / path` now; reads its bytes only if size or times differ."""
        try:
            found = inside(root, path).stat()
            if stat.S_ISREG(found.st_mode) and _marks(found) == (self.size, self.modified_ns, self.changed_ns):
                return self
        except (UserError, OSError):
            pass
        return FileState.of(root, path)


def _marks(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
