"""Film from a world: clips from text, images and other clips.

Two ways lead through time. *Causal*: a `Rollout` goes on frame by frame, for as long as wanted, and
the world's own policy acts where the caller does not. *Full*: many frames are imagined at once to
fit those that are given, see `completion`.

Every function takes as `**sampling`: `seed` (0: same seed, same film), `sampler_steps`
(per frame; None is the world's own if causal, the finest if full), `guidance` (how strongly the
prompt is followed; 1 is as learned, None is the world's own; frame by frame it falls to 1 within
the first 24), `variety` (of what goes on frame by frame, in one step each: 0 is what is expected, 1
one of those that may come, None the world's own) and `progress` (whether to show a bar).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import reduce

from worldsim.completion import PartialClip, complete
from worldsim.continuation import (
    continue_clip,
    continue_film,
    draw_over,
    film,
    go_on,
    go_on_from,
    start_rollout,
)
from worldsim.limits import check_choice, check_counts, check_share
from worldsim.openings import Opening, Wish, lead, open_row, read_starts
from worldsim.sampling import checked_video, chosen_size, read_sampling
from worldsim.world import World


def text_to_video(
    world: World | str | Path,
    prompt: str,
    *,
    frames: int = 64,
    size: tuple[int, int] | None = None,
    actions: Sequence[Any] | None = None,
    mode: str = "causal",
    start: int | str | None = None,
    **sampling: Any,
) -> np.ndarray:
    """Make a video of what `prompt` says.

    Args:
        world: The world, or its name or folder.
        prompt: What to see.
        frames: Length, any.
        size: `(h, w)` in pixels; None is the world's frame size.
        actions: `frames - 1` actions; None leaves them to the world's own policy.
        mode: "causal" imagines a first frame and goes on from it; "full" imagines the first
            `2 * context` frames at once and goes on from those.
        start: Number of a recorded start, or "nearest" for the one that shows most of the
            prompt: its last frame is the first one. None imagines that too.
        **sampling: How to sample, see the module.

    Returns:
        `(frames, h, w, 3)` uint8.
    """
    world, settings = read_sampling(world, sampling, prompt)
    check_counts(frames=frames)
    check_choice("mode", mode, ("causal", "full"))
    if start is not None and mode == "full":
        raise ValueError(f'`start` is for mode="causal", got start={start!r} with mode="full"')
    acts = world.read_actions(actions, frames - 1)
    size = chosen_size(world, size)
    if start is not None:
        recorded = _recorded(world, start, prompt, size)
        return film(world, go_on_from(world, recorded, frames - 1, acts, settings))
    grid = world.latent_size(size)
    if mode == "causal":
        rollout = start_rollout(world, settings, grid, prompt)
        first = rollout.begin([0])
        return film(world, go_on(rollout, [first], frames - 1, acts, settings))
    head = min(frames, 2 * world.dynamics.cfg.context)
    latents = torch.zeros(head, world.dynamics.cfg.channels, *grid)
    opening = PartialClip(latents, torch.zeros(head).bool(), lead(world, acts, head))
    made = complete(world, opening, prompt, settings)
    return continue_film(world, made, acts, frames, prompt, settings)


def image_to_video(
    world: World | str | Path,
    image: np.ndarray,
    prompt: str | None = None,
    actions: Sequence[Any] | None = None,
    *,
    frames: int = 64,
    **sampling: Any,
) -> np.ndarray:
    """Make a video that begins with `image`.

    Args:
        world: The world, or its name or folder.
        image: `(h, w, 3)` uint8, the first frame.
        prompt: What to see; None for no prompt.
        actions: `frames - 1` actions; None leaves them to the world's own policy.
        frames: Length, the image included.
        **sampling: How to sample, see the module.

    Returns:
        `(frames, h, w, 3)` uint8; the first frame is `image`.
    """
    check_counts(frames=frames)
    if np.ndim(image) != 3:
        raise ValueError(f"`image` must be (h, w, 3), got shape {np.shape(image)}; pass one frame")
    video = checked_video(world, np.asarray(image)[None])
    return extend(world, video, after=frames - 1, prompt=prompt, actions=actions, **sampling)


def extend(
    world: World | str | Path,
    video: np.ndarray,
    *,
    before: int = 0,
    after: int = 0,
    prompt: str | None = None,
    actions: Sequence[Any] | None = None,
    video_actions: Sequence[Any] | None = None,
    **sampling: Any,
) -> np.ndarray:
    """Imagine what came before a video and what comes after it.

    Args:
        world: The world, or its name or folder.
        video: `(t, h, w, 3)` uint8.
        before: Frames to put in front, all imagined at once to fit.
        after: Frames to append, imagined one by one.
        prompt: What to see; None for no prompt.
        actions: `after` actions; None leaves them to the world's own policy.
        video_actions: The `t - 1` actions inside the video, if known; read for what comes after.
        **sampling: How to sample, see the module.

    Returns:
        `(before + t + after, h, w, 3)` uint8; the given frames are as they were.
    """
    world, settings = read_sampling(world, sampling, prompt)
    video = checked_video(world, video)
    check_counts(0, before=before, after=after)
    t = len(video)
    inside = world.read_actions(video_actions, t - 1, "video_actions")
    acts = world.read_actions(actions, after)
    latents = world.encode(video).float().cpu()
    if before:
        padding = latents.new_zeros(before, *latents.shape[1:])
        known = torch.arange(before + t) >= before
        padded = torch.cat([padding, latents])
        past = PartialClip(padded, known, lead(world, None, before + t), backwards=True)
        head = film(world, complete(world, past, prompt, settings)[:before])
        video = np.concatenate([head, video])
    if after:
        tail = continue_clip(world, latents, inside, after, acts, prompt, settings)
        video = np.concatenate([video, tail])
    return video


def infill(
    world: World | str | Path,
    video: np.ndarray,
    known: np.ndarray,
    *,
    prompt: str | None = None,
    actions: Sequence[Any] | None = None,
    **sampling: Any,
) -> np.ndarray:
    """Imagine the missing frames, or the missing regions, of a video.

    Args:
        world: The world, or its name or folder.
        video: `(t, h, w, 3)` uint8; what stands in missing places does not matter.
        known: `(t,)` bool, frames that are given; or `(t, h, w)` bool, pixels that are.
        prompt: What to see; None for no prompt.
        actions: The `t - 1` actions, if known.
        **sampling: How to sample, see the module.

    Returns:
        `(t, h, w, 3)` uint8; what was given is as it was.
    """
    world, settings = read_sampling(world, sampling, prompt)
    video = checked_video(world, video)
    known = np.asarray(known)
    t, h, w = video.shape[:3]
    if known.dtype != bool or known.shape not in ((t,), (t, h, w)):
        raise ValueError(
            f"`known` must be bool of shape ({t},) for frames or {(t, h, w)} for regions, got "
            f"{known.dtype} {known.shape}"
        )
    pixels = np.broadcast_to(known.reshape(t, *known.shape[1:] or (1, 1)), (t, h, w))
    stride = world.tokenizer.cfg.stride
    mask = torch.from_numpy(pixels.copy())
    cells = reduce(mask.float(), "t (h p) (w q) -> t h w", "min", p=stride, q=stride) > 0
    blank = np.where(pixels[..., None], video, _fill_colour(video, pixels)).astype(np.uint8)
    acts = world.read_actions(actions, t - 1)
    clip = PartialClip(
        world.encode(blank).float().cpu(), cells.flatten(1).all(1), lead(world, acts, t),
        cells=cells,
    )  # fmt: skip
    made = film(world, complete(world, clip, prompt, settings))
    return np.where(pixels[..., None], video, made)


def loop(
    world: World | str | Path,
    prompt: str | None = None,
    *,
    frames: int = 48,
    size: tuple[int, int] | None = None,
    start: int | str | None = None,
    **sampling: Any,
) -> np.ndarray:
    """Make a video whose last frame leads back to its first.

    A clip is imagined, then the gap between its end and its beginning.

    Args:
        world: The world, or its name or folder.
        prompt: What to see; None for no prompt.
        frames: Length, at least 4.
        size: `(h, w)` in pixels; None is the world's frame size.
        start: Number of a recorded start, or "nearest" for the one that shows most of the
            prompt: its last frame is the first one. None imagines that too.
        **sampling: How to sample, see the module.

    Returns:
        `(frames, h, w, 3)` uint8.
    """
    world, settings = read_sampling(world, sampling, prompt)
    check_counts(4, frames=frames)
    window, size = 2 * world.dynamics.cfg.context, chosen_size(world, size)
    gap = max(1, min(frames // 2, window // 2))
    if start is None:
        rollout = start_rollout(world, settings, world.latent_size(size), prompt)
        open_end = go_on(rollout, [rollout.begin([0])], frames - gap - 1, None, settings)
    else:
        recorded = _recorded(world, start, prompt, size)
        open_end = go_on_from(world, recorded, frames - gap - 1, None, settings)
    edge = max(1, min(len(open_end), (window - gap) // 2))
    bridge = torch.cat(
        [open_end[-edge:], open_end.new_zeros(gap, *open_end.shape[1:]), open_end[:edge]]
    )
    place = torch.arange(len(bridge))
    known = (place < edge) | (place >= edge + gap)
    clip = PartialClip(bridge, known, lead(world, None, len(bridge)))
    closing = complete(world, clip, prompt, settings)[edge : edge + gap]
    return film(world, torch.cat([open_end, closing]))


def edit(
    world: World | str | Path,
    video: np.ndarray,
    prompt: str,
    *,
    strength: float = 0.8,
    actions: Sequence[Any] | None = None,
    **sampling: Any,
) -> np.ndarray:
    """Make a video look as `prompt` says.

    Frame after frame is drowned in noise to a degree and denoised under the prompt, each after the
    edited ones before it.

    Args:
        world: The world, or its name or folder.
        video: `(t, h, w, 3)` uint8.
        prompt: What to see.
        strength: How much may change: 0 is nothing, 1 is everything; light changes from 0.7 on.
        actions: The `t - 1` actions, if known.
        **sampling: How to sample, see the module.

    Returns:
        `(t, h, w, 3)` uint8.
    """
    world, settings = read_sampling(world, sampling, prompt)
    video = checked_video(world, video)
    check_share(strength=strength)
    acts = world.read_actions(actions, len(video) - 1)
    latents = world.encode(video).float().cpu()
    steps = settings.sampler_steps or world.dynamics.cfg.max_steps
    done = min(round((1 - strength) * steps), steps - (strength > 0))
    if done == steps:
        return film(world, latents)
    settings = replace(settings, sampler_steps=steps)
    rollout = start_rollout(world, settings, latents.shape[-2:], prompt)
    return film(world, draw_over(rollout, latents, done, acts, settings))


def _recorded(world: World, start: int | str, prompt: str | None, size: tuple[int, int]) -> Opening:
    """Return the recorded start of that number, or the nearest to the prompt."""
    [number] = read_starts(world, start, [prompt], size, [0])
    return open_row(world, Wish(prompt, number), np.random.default_rng(0), size)


def _fill_colour(video: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return the mean colour of what is given, for missing pixels to enter the tokenizer as."""
    given = video[pixels]
    return given.mean(0) if len(given) else np.full(3, 127.0)
