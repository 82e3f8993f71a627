"""Some of a data set's episodes: those to train on, those held out."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from worldsim.datasets.episodes import Episode, Episodes

FILM = "film"  # of a scene: the film that an episode is a part of
UNKNOWN = "unknown"  # among tags: recordings that nobody wrote down


class Subset:
    """Some episodes of a data set, read one by one."""

    def __init__(self, data: Episodes, index: list[int]) -> None:
        self.data, self.index, self.info = data, index, data.info

    def __len__(self) -> int:
        return len(self.index)

    @property
    def lengths(self) -> list[int]:
        """Actions in each episode."""
        lengths = self.data.lengths
        return [lengths[i] for i in self.index]

    def outline(self, i: int) -> Episode:
        """Return an episode without its frames."""
        return self.data.outline(self.index[i])

    def __getitem__(self, i: int) -> Episode:
        if i >= len(self.index):
            raise IndexError(i)
        return self.data[self.index[i]]


def by_film(data: Episodes) -> list[list[int]]:
    """Return which episodes are parts of one film; one that is whole stands alone.

    Where all are parts of the same film, each of them does.
    """
    films: dict[Any, list[int]] = {}
    for i in range(len(data)):
        films.setdefault(data.outline(i).scene.get(FILM, i), []).append(i)
    return list(films.values()) if len(films) > 1 else [[i] for i in range(len(data))]


def hold_out(data: Episodes, test: str | Path | Episodes | None) -> tuple[Subset, Subset]:
    """Return the episodes to train on and those held out."""
    every = list(range(len(data)))
    if test is not None:
        test = opened_like(data, test, "test")
        return Subset(data, every), Subset(test, list(range(len(test))))
    films = by_film(data)
    if len(films) < 2:
        raise ValueError(f"training needs at least 2 episodes, got {len(films)}; record more")
    held = {i for film in (films[::50] if len(films) > 50 else films[-1:]) for i in film}
    return Subset(data, [i for i in every if i not in held]), Subset(data, sorted(held))


def opened(data: str | Path | Episodes) -> Episodes:
    """Open a data set that is given by its path."""
    if not isinstance(data, str | Path):
        return data
    from worldsim.data import open_dataset

    return open_dataset(data)


def opened_like(data: Episodes, other: str | Path | Episodes, role: str) -> Episodes:
    """Open a data set that goes with another one.

    Raises:
        ValueError: If it has another frame rate or action space.
    """
    other = opened(other)
    if other.info.fps != data.info.fps or other.info.action_space != data.info.action_space:
        raise ValueError(
            f"`{role}` must have the frame rate and action space of `data`, got "
            f"{other.info.fps} fps, {other.info.action_space} against "
            f"{data.info.fps} fps, {data.info.action_space}"
        )
    return other


def tags(episodes: Episodes) -> list[str]:
    """Return what tells each recording from others, the same in whatever data set it lies.

    That is its seed, and what was done and earned; without a seed its first frame, too, by which
    it is not known again in another size, or once it has been compressed again.
    """
    found = []
    for i in range(len(episodes)):
        episode = episodes.outline(i)
        parts = [episode.actions, episode.rewards]
        if episode.seed is None:
            parts.append(episodes[i].frames[0])
        seed = None if episode.seed is None else int(episode.seed)  # NumPy's read otherwise
        total = zlib.crc32(repr(seed).encode())
        for part in parts:
            total = zlib.crc32(np.ascontiguousarray(part), total)
        found.append(f"{total:08x}")
    return found


def fingerprint(episodes: Episodes) -> str:
    """Return what tells these recordings from others: the last frames, and all labels."""
    total = zlib.crc32(np.ascontiguousarray(episodes[len(episodes) - 1].frames))
    for i in range(len(episodes)):
        told = {k: v for k, v in vars(episodes.outline(i)).items() if k != "frames"}
        state = told.pop("state")
        for name, values in sorted({**told, **state}.items()):
            is_array = isinstance(values, np.ndarray)
            said = np.ascontiguousarray(values) if is_array else repr(values).encode()
            total = zlib.crc32(said, zlib.crc32(name.encode(), total))
    return f"{len(episodes)} episodes of {sum(episodes.lengths):,} steps, {total:08x}"
