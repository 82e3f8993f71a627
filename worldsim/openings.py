"""How an episode of an imagined world begins: a recorded clip, given frames, or a prompt alone.

What `reset(options=...)` asks for is read and checked as a whole into one `Wish` per row, before
any row changes. A wish becomes an `Opening` when the row starts, which can happen many times.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldsim.frames import led_by
from worldsim.rollout import Rollout
from worldsim.world import World

OPTIONS = ("prompt", "start", "frames", "actions")


@dataclass(frozen=True)
class Opening:
    """How one row begins.

    Attributes:
        prompt: In force from the first imagined frame on; None is the null prompt.
        caption: In force while the given frames are read.
        latents: `(t, c, h, w)`, frames to go on from; None imagines the first one from nothing.
        actions: `(t, a)`, scaled; `actions[i]` leads to frame `i`, the first is not read.
        known: `(t,)` bool, False where there is no action label.
        given: Whether somebody gave the frames, which need not show what the prompt says.
    """

    prompt: str | None
    caption: str | None = None
    latents: Tensor | None = None
    actions: Tensor | None = None
    known: Tensor | None = None
    given: bool = False


@dataclass(frozen=True)
class Wish:
    """What one row was asked to begin with.

    Attributes:
        prompt: None for the start clip's own caption.
        start: A start clip; None draws one where neither prompt nor frames are given.
        clip: Given frames, already encoded.
    """

    prompt: str | None
    start: int | None = None
    clip: Opening | None = None


def read_wishes(
    world: World,
    options: dict[str, Any],
    prompts: list[str | None],
    frame_size: tuple[int, int],
    rows: Sequence[int],
) -> list[Wish]:
    """Check `reset`'s options and return a wish per row.

    Args:
        world: The world that is to fulfil them.
        options: `prompt`, `start`, `frames`, `actions`, all optional.
        prompts: Each row's prompt where the options name none.
        frame_size: `(h, w)` in pixels.
        rows: Those that are to begin; what the others would begin with does not matter.

    Raises:
        TypeError: If an option is of the wrong kind.
        ValueError: If an option is unknown, out of range or contradicts another.
    """
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise ValueError(
            f"reset options are {', '.join(OPTIONS)}, got {', '.join(map(str, unknown))}"
        )
    n = len(prompts)
    prompts = read_prompts(world, options["prompt"], n) if "prompt" in options else prompts
    frames, actions, start = (options.get(name) for name in ("frames", "actions", "start"))
    if actions is not None and frames is None:
        raise ValueError("`actions` lead from frame to frame; pass `frames` with them")
    if start is not None and frames is not None:
        raise ValueError(
            f"an episode begins from `start` or from `frames`, got start={start!r} and both"
        )
    if frames is not None:
        clips = _read_clips(world, frames, actions, n, frame_size)
        return [Wish(prompt, clip=clip) for prompt, clip in zip(prompts, clips, strict=True)]
    starts = read_starts(world, start, prompts, frame_size, rows)
    return [Wish(prompt, at) for prompt, at in zip(prompts, starts, strict=True)]


def read_prompts(world: World, prompt: Any, n: int) -> list[str | None]:
    """Return a prompt per row, None for none, with their words read, which can fail.

    Args:
        world: Who is to understand them.
        prompt: A string for all rows, a sequence of one per row, or None.
        n: Number of rows.

    Raises:
        TypeError: If a prompt is not a string.
        ValueError: If there are not `n` of them, or the world has learned no words.
    """
    prompts = list(prompt) if np.ndim(prompt) > 0 else [prompt] * n
    for each in prompts:
        if each is not None and not isinstance(each, str):
            raise TypeError(
                f"`prompt` must be a string{', or one per env in a list' if n > 1 else ''}, "
                f"got {type(each).__name__} {each!r}"
            )
    if len(prompts) != n:
        raise ValueError(
            f"`prompt` must be one string, or one per env in a list of {n}, got {len(prompts)}"
        )
    asked = {str(each) for each in prompts if each}
    if asked and world.starts.captions and not world.starts.words:
        raise ValueError(
            f"{world.cfg.name!r} was recorded without captions and understands no prompt, got "
            f"{sorted(asked)}; leave `prompt` out, or make it from an env that says "
            '`info["caption"]`'
        )
    for each in asked:
        world.words(each)
    return [str(each) if each else None for each in prompts]


def open_row(
    world: World, wish: Wish, rng: np.random.Generator, frame_size: tuple[int, int]
) -> Opening:
    """Decide how a row begins; only a start clip that nobody chose is drawn from `rng`."""
    if wish.clip is not None:
        return replace(wish.clip, prompt=wish.prompt, caption=wish.prompt)
    start, starts = wish.start, world.starts
    if start is None:
        if wish.prompt is not None or not has_starts(world, frame_size):
            return Opening(wish.prompt)
        start = int(rng.integers(len(starts.latents)))
    caption = (starts.captions[start] if starts.words else None) or None
    latents, actions = starts.latents[start].float(), starts.actions[start].float()
    return Opening(wish.prompt or caption, caption, latents, actions, starts.known[start])


def begin_rows(rollout: Rollout, openings: dict[int, Opening]) -> None:
    """Start some rows of a rollout afresh; a clip is read under its own caption."""
    rows, clips = list(openings), {}
    for row, opening in openings.items():
        if opening.latents is not None:
            clips.setdefault(len(opening.latents), []).append(row)
    blank = [row for row in rows if openings[row].latents is None]
    read = [openings[row].prompt if row in blank else openings[row].caption for row in rows]
    rollout.set_prompts(rows, read)
    if blank:
        rollout.begin(blank)
    for alike in clips.values():  # of one length
        own = [openings[row] for row in alike]
        parts = ([getattr(o, name) for o in own] for name in ("latents", "actions", "known"))
        rollout.prefill(alike, *map(torch.stack, parts))
    rollout.set_prompts(rows, [opening.prompt for opening in openings.values()])
    for row in rows:
        if openings[row].given:
            rollout.age[row] = 0


def has_starts(world: World, frame_size: tuple[int, int]) -> bool:
    """Say whether there are start clips of this size."""
    latents = world.starts.latents
    return latents.dim() == 5 and latents.shape[-2:] == world.latent_size(frame_size)


def read_starts(
    world: World,
    start: Any,
    prompts: list[str | None],
    frame_size: tuple[int, int],
    rows: Sequence[int],
) -> Sequence[int | None]:
    """Return the number of a start clip per row, None where none is asked for.

    Raises:
        TypeError: If `start` is neither "nearest" nor a whole number, or None, for each row.
        ValueError: If there is no such start clip, or no prompt to compare captions with.
    """
    if start is None:
        return [None] * len(prompts)
    count = len(world.starts.latents) if has_starts(world, frame_size) else 0
    if not count:
        h, w = frame_size
        raise ValueError(
            f"`start` chooses a start clip, but {world.cfg.name!r} has none of {w}x{h}; "
            "pass `frames`, or a prompt alone"
        )
    if isinstance(start, str):
        if start != "nearest":
            raise ValueError(f'`start` must be a number below {count} or "nearest", got {start!r}')
        if not world.starts.words:
            raise ValueError(
                f'`start="nearest"` needs captions, and the start clips of {world.cfg.name!r} have '
                f"none; choose one by its number, below {count}"
            )
        if not all(prompts[row] for row in rows):
            raise ValueError(
                f'`start="nearest"` compares captions with a prompt, got prompt={prompts}; '
                "pass `prompt` with it"
            )
        nearest = {prompt: world.nearest_start(prompt) for prompt in {prompts[row] for row in rows}}
        return [nearest[each] if row in rows else None for row, each in enumerate(prompts)]
    chosen = list(start) if np.ndim(start) > 0 else [start] * len(prompts)
    if len(chosen) != len(prompts):
        raise ValueError(
            f"`start` must be one number, or one per env ({len(prompts)}), got {len(chosen)}"
        )
    for each in (one for one in chosen if one is not None):
        if isinstance(each, bool) or not isinstance(each, int | np.integer):
            raise TypeError(f'`start` must be a whole number or "nearest", got {each!r}')
        if not 0 <= each < count:
            raise ValueError(f"`start` must be from 0 to {count - 1}, got {each}")
    return [None if each is None else int(each) for each in chosen]


def _read_clips(
    world: World, frames: Any, actions: Any, n: int, frame_size: tuple[int, int]
) -> list[Opening]:
    """Read one clip for all rows, or a sequence of one per row, which may differ in length."""
    several = isinstance(frames, list | tuple | np.ndarray | Tensor) and len(frames) > 0
    if not several or np.ndim(frames[0]) != 4:
        return [_read_clip(world, frames, actions, frame_size)] * n
    led = [None] * len(frames) if actions is None else actions
    if len(frames) != n or len(led) != n:
        raise ValueError(
            f"`frames` must be one clip, or one per env with as many lists of `actions` ({n}), "
            f"got {len(frames)} clips and {len(led)} lists"
        )
    return [_read_clip(world, *both, frame_size) for both in zip(frames, led, strict=True)]


def _read_clip(world: World, frames: Any, actions: Any, frame_size: tuple[int, int]) -> Opening:
    """Encode frames and the actions between them; what no context can hold is dropped."""
    frames = frames.cpu().numpy() if isinstance(frames, Tensor) else np.asarray(frames)
    h, w = frame_size
    if frames.dtype != np.uint8:
        raise TypeError(f"`frames` must be uint8 pixels in [0, 255], got {frames.dtype}")
    if frames.ndim not in (3, 4) or frames.shape[-3:] != (h, w, 3) or 0 in frames.shape:
        raise ValueError(
            f"`frames` must be (t, {h}, {w}, 3), got {frames.shape}; resize them to {w}x{h}, or "
            "make the env with another `frame_size`"
        )
    frames = frames.reshape(-1, h, w, 3)
    t = len(frames)
    led = lead(world, world.read_actions(actions, t - 1), t)
    kept = min(t, world.dynamics.cfg.context)
    known = torch.full((kept,), world.cfg.labelled)
    latents = world.encode(frames[-kept:]).float().cpu()
    return Opening(None, None, latents, led[-kept:], known, given=True)


def lead(world: World, scaled: Tensor | None, t: int) -> Tensor:
    """Return `(t, a)`: each action beside the frame it leads to; the usual one if none is known.

    A world of labelled recordings has seen no frame after another without its action.
    """
    if scaled is not None:
        return led_by(scaled[: t - 1])
    starts, usual = world.starts, torch.zeros(world.dynamics.cfg.action_dim)
    if starts.known.any():
        usual = starts.actions.float()[starts.known].mean(0)
    return usual.expand(t, -1)
