"""Look at a data set: as a table, as a contact sheet, or as a film with the actions drawn in."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from gymnasium import spaces

from worldsim.data import DiskDataset
from worldsim.datasets.episodes import Episode, MemoryDataset
from worldsim.images import contact_sheet, draw_text, tile, write_image
from worldsim.limits import check_counts, check_given
from worldsim.spaces import action_bounds
from worldsim.video import VideoWriter

BARS = " ▁▂▃▄▅▆▇█"
STRIP = 14  # height of the drawn action, in pixels


def inspect(dataset: MemoryDataset | DiskDataset) -> str:
    """Describe a data set in a table: features, episodes, scenes, captions, actions."""
    if not len(dataset):
        return "an empty data set"
    info = dataset.info
    episodes = [dataset.outline(i) for i in range(len(dataset))]
    lengths = np.array([len(episode) for episode in episodes])
    returns = np.array([episode.rewards.sum() for episode in episodes])
    h, w = info.frame_size
    terminated = sum(bool(episode.terminated[-1]) for episode in episodes)
    lines = [
        f"env         {info.env_id or '?'}",
        f"frames      {lengths.sum() + len(lengths):,} of {w}x{h} at {info.fps} fps "
        f"({lengths.sum() / info.fps / 60:.1f} minutes)",
        f"episodes    {len(episodes)}, {lengths.min()}..{lengths.max()} steps, "
        f"mean {lengths.mean():.0f}; {terminated} terminated",
        f"return      {returns.min():.1f}..{returns.max():.1f}, mean {returns.mean():.1f}",
        f"action      {info.action_space}",
    ]
    if info.recording:
        lines.append(f"recorded    {', '.join(f'{k}={v}' for k, v in info.recording.items())}")
    sections = [lines, _features(episodes), _actions(episodes, info.action_space)]
    sections += [_scenes(episodes), _captions(episodes)]
    return "\n\n".join("\n".join(section) for section in sections if section)


def preview(
    dataset: MemoryDataset | DiskDataset,
    out: str | Path,
    *,
    episodes: int = 6,
    columns: int = 8,
    scale: int | None = None,
    seconds: float = 20.0,
) -> Path:
    """Draw some episodes, evenly spaced over the data set, with their actions.

    Args:
        dataset: The data set.
        out: A `.png` or `.jpg` gets a contact sheet, an episode per row; an `.mp4` gets a film in
            which the episodes play side by side.
        episodes: Episodes to draw.
        columns: Frames per episode on a contact sheet.
        scale: Whole factor by which pixels are enlarged; None makes frames about 160 pixels wide.
        seconds: Length of the film.

    Returns:
        The path of the file written.
    """
    path = Path(out)
    if path.suffix not in (".png", ".jpg", ".mp4"):
        raise ValueError(f"`out` must end in .png, .jpg or .mp4, got {str(out)!r}")
    check_counts(episodes=episodes, columns=columns)
    check_given(scale=scale)
    if not seconds > 0:
        raise ValueError(f"`seconds` must be above 0, got {seconds}")
    if not len(dataset):
        raise ValueError("a data set must hold an episode to draw, got none; record some first")
    info = dataset.info
    scale = scale or max(1, round(160 / info.frame_size[1]))
    chosen = np.linspace(0, len(dataset) - 1, min(episodes, len(dataset))).round().astype(int)
    actions = np.concatenate([dataset.outline(i).actions for i in chosen])
    limits = _limits(actions, info.action_space)
    if path.suffix != ".mp4":
        rows, labels = [], []
        for i in chosen:
            episode = dataset[i]
            shown = np.linspace(0, len(episode), min(columns, len(episode) + 1)).astype(int)
            rows.append(_drawn(episode, shown, limits, scale))
            labels.append(f"{i}: {episode.captions[0]}")
        write_image(path, contact_sheet(rows, labels))
        return path
    count = min(round(seconds * info.fps), max(dataset.lengths[i] for i in chosen) + 1)
    films = [_drawn(dataset[i], np.arange(count), limits, scale) for i in chosen]
    for i, film in zip(chosen, films, strict=True):
        for frame in film:
            draw_text(frame, str(i), 3, 12)
    size = tile(np.stack([film[0] for film in films])).shape[:2]
    with VideoWriter(path, info.fps, size) as video:
        for frames in zip(*films, strict=True):
            video.write(tile(np.stack(frames)))
    return path


def _drawn(
    episode: Episode, shown: np.ndarray, limits: tuple[np.ndarray, np.ndarray], scale: int
) -> np.ndarray:
    """Enlarge the frames `shown` (the last one stays) and draw the action below each."""
    shown = np.minimum(shown, len(episode))
    frames = episode.frames[shown].repeat(scale, 1).repeat(scale, 2)
    actions = episode.actions[np.minimum(shown, len(episode) - 1)]
    strips = [_draw_action(action, limits, frames.shape[2]) for action in actions]
    return np.concatenate([frames, np.stack(strips)], axis=1)


def _draw_action(
    action: np.ndarray, limits: tuple[np.ndarray, np.ndarray], width: int
) -> np.ndarray:
    """Draw one bar per number, from zero to its value between its limits."""
    strip = np.full((STRIP, width, 3), 32, np.uint8)
    edges = np.linspace(0, width, len(action) + 1).round().astype(int)
    for i, (value, low, high) in enumerate(zip(action, *limits, strict=True)):
        left, right = edges[i] + 2, edges[i + 1] - 2
        places = (np.clip([0, value], low, high) - low) / max(high - low, 1e-6)
        zero, tip = (left + places * (right - left)).round().astype(int)
        cv2.rectangle(strip, (left, 3), (right, STRIP - 4), (70, 70, 70), -1)
        cv2.rectangle(strip, (min(zero, tip), 3), (max(zero, tip), STRIP - 4), (90, 200, 120), -1)
    return strip


def _limits(actions: np.ndarray, space: spaces.Space) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of each number of an action, taken from the data where there are none."""
    low, high = action_bounds(space)
    return np.where(np.isfinite(low), low, actions.min(0)), np.where(
        np.isfinite(high), high, actions.max(0)
    )


def _features(episodes: list[Episode]) -> list[str]:
    columns = {"reward": [episode.rewards for episode in episodes]}
    for key in sorted(episodes[0].state):
        columns[f"state.{key}"] = [episode.state[key] for episode in episodes]
    lines = [f"{'feature':24}{'size':>6}{'min':>12}{'mean':>12}{'max':>12}"]
    for name, parts in columns.items():
        x = np.concatenate(parts)
        size = 1 if x.ndim == 1 else x.shape[1]
        lines.append(f"{name:24}{size:>6}{x.min():>12.4g}{x.mean():>12.4g}{x.max():>12.4g}")
    return lines


def _actions(episodes: list[Episode], space: spaces.Space) -> list[str]:
    """Draw what the actions are that have a label, and say how many have none."""
    known = np.concatenate([episode.action_known for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])[known]
    draw = _draw_choices if isinstance(space, spaces.Discrete) else _draw_numbers
    lines = draw(actions, space) if len(actions) else ["actions"]
    if not known.all():
        lines.append(f"  {1 - known.mean():.1%} of the steps have no action label")
    return lines


def _draw_choices(actions: np.ndarray, space: spaces.Discrete) -> list[str]:
    """Draw how often each action was chosen."""
    names = range(space.start, space.start + space.n)
    return ["actions"] + [
        f"  {name:<6}{share:>7.1%}  {'#' * round(40 * share)}"
        for name, share in zip(names, actions.mean(0), strict=True)
    ]


def _draw_numbers(actions: np.ndarray, space: spaces.Space) -> list[str]:
    """Draw a histogram of each number of the flattened action."""
    lines = ["action       min  histogram                max      mean"]
    for i, (low, high) in enumerate(zip(*_limits(actions, space), strict=True)):
        counts, _ = np.histogram(actions[:, i], 20, (low, high if high > low else low + 1))
        bars = "".join(BARS[int(np.ceil(8 * n / max(counts.max(), 1)))] for n in counts)
        lines.append(f"  {i:<6}{low:>8.4g}  {bars}  {high:>8.4g}  {actions[:, i].mean():>8.4g}")
    return lines


def _scenes(episodes: list[Episode]) -> list[str]:
    """Count the values of each attribute that is a word."""
    keys = sorted({key for episode in episodes for key in episode.scene})
    lines = []
    for key in keys:
        values = [episode.scene[key] for episode in episodes if key in episode.scene]
        if all(isinstance(value, str | bool) for value in values):
            lines.append(f"  {key:12}{_shares(Counter(map(str, values)).most_common(8))}")
    return ["scenes", *lines] if lines else []


def _captions(episodes: list[Episode]) -> list[str]:
    frames: Counter[str] = Counter()
    for episode in episodes:
        counts = np.bincount(episode.caption_index, minlength=len(episode.captions))
        frames.update(dict(zip(episode.captions, counts.tolist(), strict=True)))
    words = [len(caption.split()) for caption in frames]
    lines = [f"captions    {len(frames)} different, {min(words)}..{max(words)} words"]
    for caption, count in frames.most_common(8):
        short = caption if len(caption) <= 80 else caption[:77] + "..."
        lines.append(f"  {count / frames.total():>6.1%}  {short or '(none)'}")
    return lines


def _shares(counts: Iterable[tuple[str, int]]) -> str:
    counts = list(counts)
    total = sum(n for _, n in counts)
    return ", ".join(f"{name} {n / total:.0%}" for name, n in counts)
