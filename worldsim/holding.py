"""One process at a time writes a data set, or trains in a folder.

Others are kept out by an advisory lock on a file `lock` there. The OS lets go of it when its
process ends, however that comes, and processes started meanwhile do not inherit it, even by a fork.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary


class Hold:
    """The right to write in a folder, which is made.

    In one process the next to ask gets it, such as a notebook's cell after one that failed.

    Args:
        folder: Where to write; it is removed in the end if nothing is left in it.
        doing: What whoever has the right does, for errors: "records into data/drive".

    Raises:
        BlockingIOError: If another process has it.
    """

    _held: WeakValueDictionary = WeakValueDictionary()  # by process and folder

    def __init__(self, folder: Path, doing: str):
        self.folder, self.doing = folder, doing
        key = os.getpid(), os.path.realpath(folder)
        if before := self._held.get(key):
            before.release()  # first: to close any file on a lock is to let go of it
        self._lock = self._acquire()
        self._held[key] = self

    def _acquire(self) -> BinaryIO:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # whoever was there has just tidied up: once more
                lock = open(self.folder / "lock", "wb")  # noqa: SIM115
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
                f"another process {self.doing}; let it end first, or choose another folder"
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
                f"a writer must be open, got one that {self.doing} and was closed or replaced by "
                "another one; open a new one"
            )

    def __enter__(self) -> "Hold":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others write, and remove the folder if nothing is left in it."""
        if self._lock.closed:
            return
        with suppress(OSError):
            os.unlink(self._lock.name)  # before it is closed, so that it is nobody else's
            self.folder.rmdir()
        self._lock.close()
