"""Files and folders that are whole or absent."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield where to write what will replace a file; until it is whole, the old one stays."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file: the old one stays until the new one is whole."""
    with replacing(path) as part:
        part.write_text(text)


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file: the old one stays until the new one is whole."""
    umask = os.umask(0)
    os.umask(umask)
    with replacing(path) as part:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, metadata)
        part.chmod(0o666 & ~umask)  # safetensors leaves files that only their owner can read


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file and its metadata.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    with _opened(path) as file:
        return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file alone; errors as of `read_tensors`."""
    with _opened(path) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    if not path.exists():
        raise FileNotFoundError(
            f"{path} must exist and does not; restore the folder or train it again"
        )
    try:
        with safe_open(path, "pt") as file:
            yield file
    except Exception as error:
        raise ValueError(
            f"{path} must be a whole safetensors file, got: {error}; copy or train it again"
        ) from error


def claim_path(path: Path) -> Path:
    """Make an empty file where there is none: `path`, or the first free `name-2.mp4`, ...

    Whoever asks next, in whatever process, gets another one.
    """
    free, number = path, 1
    while True:
        try:
            free.touch(exist_ok=False)
            return free
        except FileExistsError:
            number += 1
            free = path.with_stem(f"{path.stem}-{number}")


def own_folder(folder: str | Path) -> Path:
    """Return a folder that can be put in the place of another; what it is a link to, if it is one.

    Raises:
        ValueError: If it is the one that we are in, or where a disk is mounted.
    """
    folder = Path(folder).expanduser()
    folder = folder.resolve() if folder.is_symlink() else folder
    mounted = os.path.ismount(folder)
    if mounted or folder.resolve() == Path.cwd():
        what = "where a disk is mounted" if mounted else "the working folder"
        raise ValueError(
            f"`out` must be a folder of its own, got {folder}, {what}; choose one in it"
        )
    return folder


def staging_of(path: Path) -> Path:
    """Return where the episodes of an unfinished data set wait."""
    return path.with_name(f"{path.name}.partial")


def check_staging(staging: Path, *own: str) -> None:
    """Refuse to stage in what we did not make.

    Args:
        staging: Folder that will be emptied in the end; it may be absent.
        own: Patterns of the names that we write there.

    Raises:
        FileExistsError: If it holds anything else.
    """
    own, strange = (*own, ".DS_Store"), None
    if staging.is_dir():
        names = sorted(os.listdir(staging))
        strange = next((n for n in names if not any(fnmatch(n, o) for o in own)), None)
    if strange or (staging.exists() and not staging.is_dir()):
        raise FileExistsError(
            f"{staging} must hold nothing but unfinished work, got "
            f"{strange or 'a file'}; move it, or choose another `out`"
        )


@contextmanager
def renewed(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` in the end; until then that stays.

    What was cut off between the two renames is brought back the next time.

    Raises:
        ValueError: If it is the one that we are in.
        FileExistsError: If somebody else's `<folder>.part` is in the way.
    """
    staging = own_folder(folder).with_name(folder.name + ".part")
    check_staging(staging, "new", "old")
    new, old = staging / "new", staging / "old"
    _bring_back(old, folder)
    try:
        shutil.rmtree(staging, ignore_errors=True)
        new.mkdir(parents=True)
        yield new
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    finally:
        _bring_back(old, folder)
        shutil.rmtree(staging, ignore_errors=True)


def _bring_back(old: Path, folder: Path) -> None:
    """Undo the first of the two renames of a save if the second never came."""
    if old.exists() and not folder.exists():
        os.replace(old, folder)
