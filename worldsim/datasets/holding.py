"""One process at a time writes a data set.

Others are kept out by an advisory lock on `<path>.partial/lock`. The OS lets go of it when its
process ends, however that comes, and processes started meanwhile do not inherit it, even by a fork.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary

from worldsim.files import staging_of


class Hold:
    """The right to write a data set; makes its staging folder.

    In one process the next to ask gets it, such as a notebook's cell after one that failed.

    Args:
        path: Folder of the data set.

    Raises:
        BlockingIOError: If another process has it.
    """

    _held: WeakValueDictionary = WeakValueDictionary()  # by process and folder

    def __init__(self, path: Path):
        self.path, self.staging = path, staging_of(path)
        key = os.getpid(), os.path.realpath(self.staging)
        if before := self._held.get(key):
            before.release()  # first: to close any file on a lock is to let go of it
        self._lock = self._acquire()
        self._held[key] = self

    def _acquire(self) -> BinaryIO:
        while True:
            self.staging.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # whoever was there has just tidied up: once more
                lock = open(self.staging / "lock", "wb")  # noqa: SIM115
                self._claim(lock)
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(lock.name)):
                    return lock
                lock.close()

    def _claim(self, lock: BinaryIO) -> None:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # `flock` would outlive us in a fork
        except (BlockingIOError, PermissionError):
            lock.close()
            raise BlockingIOError(
                f"another process records into {self.path}; let it end first, or record into "
                "another folder"
            ) from None
        except OSError:
            pass  # a file system that knows no locks

    def check(self) -> None:
        """Refuse to go on if this was released.

        Raises:
            ValueError: If it was.
        """
        if self._lock.closed:
            raise ValueError(
                f"a writer must be open, got that of {self.path}, which was closed or replaced by "
                "another one; open a new one"
            )

    def release(self) -> None:
        """Let others write, and remove the staging folder if nothing waits in it."""
        if self._lock.closed:
            return
        with suppress(OSError):
            os.unlink(self._lock.name)  # before it is closed, so that it is nobody else's
            self.staging.rmdir()
        self._lock.close()
