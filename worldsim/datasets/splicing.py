"""Data sets joined and parted: episodes are copied as they are, not encoded again."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from worldsim.conversion import SourceFaults
from worldsim.data import DiskDataset, open_dataset
from worldsim.datasets.lerobot_writer import write_layout
from worldsim.datasets.subsets import by_film
from worldsim.files import renewed


def merge(paths: Sequence[str | Path], out: str | Path) -> DiskDataset:
    """Join data sets of ours into a new one, in the order given.

    Args:
        paths: Two or more.
        out: Folder of the new data set.

    Raises:
        SourceFaults: If they differ in pace, size, actions, quality or states; nothing is written.
        FileExistsError: If there is something at `out`.
    """
    if len(paths) < 2:
        raise ValueError(f"`paths` must name two data sets or more, got {list(map(str, paths))}")
    sets = [_open_own(path) for path in paths]
    first, faults = sets[0], []
    for other in sets[1:]:
        for name in ("fps", "frame_size", "action_space", "quality"):
            own, theirs = getattr(first.info, name), getattr(other.info, name)
            if own != theirs:
                way = {"action_space": "; convert what both come from as one folder"}.get(name, "")
                faults.append((str(other.path), f"has {name}={theirs}, the first {own}{way}"))
        own, theirs = _states(first), _states(other)
        if own != theirs:
            faults.append((str(other.path), f"has the states {theirs}, the first {own}"))
    if faults:
        raise SourceFaults(Path(out), faults, "hold these data sets together")
    info = first.info
    if any(other.info.env_id != info.env_id for other in sets):
        info = replace(info, env_id="", env_kwargs={})
    every = [other.info.env_kwargs for other in sets]
    shared = {k: v for k, v in info.env_kwargs.items() if all(k in e and e[k] == v for e in every)}
    info = replace(info, env_kwargs=shared)
    if any(other.info.recording != info.recording for other in sets):
        info = replace(info, recording={"merged": [other.path.name for other in sets]})
    _check_free(Path(out))
    with renewed(Path(out)) as new:
        parts = (other.part(i) for other in sets for i in range(len(other)))
        write_layout(new, parts, info.to_json())
    return open_dataset(out)


def split(
    path: str | Path, out: str | Path, *, test: float = 0.1, seed: int = 0
) -> tuple[DiskDataset, DiskDataset]:
    """Part a data set of ours into episodes to learn from and episodes to judge by.

    Args:
        path: The data set; it stays as it is.
        out: The parts become `<out>-train` and `<out>-test`.
        test: Share of the episodes in the latter; at least one. Parts of one film stay together.
        seed: Chooses them.

    Returns:
        Both data sets, which appear together, once both are whole.

    Raises:
        ValueError: If there are too few episodes for two parts.
        FileExistsError: If there is something at one of the new folders.
    """
    whole = _open_own(path)
    films = by_film(whole)
    count = max(1, round(test * len(films)))
    if not 0 < test < 1 or count >= len(films):
        raise ValueError(
            f"`test` must leave an episode for each part of {len(films)}, got test={test}; "
            "record more episodes or try 0.1"
        )
    chosen = np.random.default_rng(seed).permutation(len(films))[:count]
    held = {i for number in chosen for i in films[number]}
    places = [Path(f"{Path(out)}-{name}") for name in ("train", "test")]
    for place in places:
        _check_free(place)
    rows = [[i for i in range(len(whole)) if (i in held) == is_test] for is_test in (False, True)]
    with ExitStack() as both:
        for place, index in zip(places, rows, strict=True):
            # no recording goes on with a part: its next seeds are those of the other one
            recording = whole.info.recording | {"split": place.name}
            info = replace(whole.info, recording=recording)
            write_layout(both.enter_context(renewed(place)), map(whole.part, index), info.to_json())
    train, held_out = map(open_dataset, places)
    return train, held_out


def _open_own(path: str | Path) -> DiskDataset:
    dataset = open_dataset(path)
    if not dataset.is_ours:
        raise ValueError(
            f"only data sets that worldsim wrote can be merged and split, got {path}; convert it "
            f"first: worldsim data convert path={path} out=..."
        )
    return dataset


def _states(dataset: DiskDataset) -> dict[str, tuple[int, ...]]:
    """Return the shape that each number of the ground truth has in a frame."""
    columns = dataset.folder.columns
    return {name: columns[f"state.{name}"].shape[1:] for name in dataset.state_keys}


def _check_free(path: Path) -> None:
    if path.exists():
        raise FileExistsError(f"{path} is there already; choose another `out` or remove it")
