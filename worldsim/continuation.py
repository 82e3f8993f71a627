"""Going on from a clip or from nothing, frame by frame."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from worldsim.openings import Opening, begin_rows, lead
from worldsim.rollout import Rollout
from worldsim.sampling import Sampling
from worldsim.world import World


def start_rollout(
    world: World, sampling: Sampling, grid: tuple[int, int], prompt: str | None
) -> Rollout:
    """Begin a rollout of one row whose latents have `grid` `(h, w)` cells."""
    stride = world.tokenizer.cfg.stride
    rollout = Rollout(
        world, 1, sampler_steps=sampling.sampler_steps, guidance=sampling.guidance,
        variety=sampling.variety, frame_size=(grid[0] * stride, grid[1] * stride),
    )  # fmt: skip
    rollout.seed([0], [sampling.seed])
    rollout.set_prompts([0], [prompt])
    return rollout


def go_on(
    rollout: Rollout, past: list[Tensor], count: int, actions: Tensor | None, sampling: Sampling
) -> Tensor:
    """Add `count` frames to those of `past`, `(1, c, h, w)` each; return all `(t, c, h, w)`."""
    for i in tqdm(range(count), "imagine", disable=not sampling.progress):
        action = rollout.world.played(rollout.policy) if actions is None else actions[i : i + 1]
        past.append(rollout.step(action).latents)
    return torch.cat(past).float().cpu()


def go_on_from(
    world: World, opening: Opening, count: int, actions: Tensor | None, sampling: Sampling
) -> Tensor:
    """Go on from a clip as an episode does: read under its own caption, then under the prompt.

    Returns the clip's last frame and `count` more, `(1 + count, c, h, w)`.
    """
    rollout = start_rollout(world, sampling, opening.latents.shape[-2:], opening.caption)
    begin_rows(rollout, {0: opening})
    return go_on(rollout, [rollout.latents], count, actions, sampling)


def draw_over(
    rollout: Rollout, latents: Tensor, done: int, actions: Tensor | None, sampling: Sampling
) -> Tensor:
    """Draw over each of `latents` `(t, c, h, w)`, in their order, where `done` steps are left out.

    `actions` are the `t - 1` scaled actions between them, if known.
    """
    led, made = lead(rollout.world, actions, len(latents)), []
    for frame, action in zip(
        tqdm(latents, "edit", disable=not sampling.progress), led, strict=True
    ):
        made.append(rollout.redraw(frame[None], done, action[None]).latents)
    return torch.cat(made).float().cpu()


def continue_clip(
    world: World,
    latents: Tensor,
    inside: Tensor | None,
    count: int,
    actions: Tensor | None,
    prompt: str | None,
    sampling: Sampling,
) -> np.ndarray:
    """Imagine `count` frames after `latents` `(t, c, h, w)`; return `(count, h, w, 3)`.

    `inside` are the `t - 1` scaled actions between those, if known.
    """
    t = len(latents)
    led, known = lead(world, inside, t), torch.full((t,), world.cfg.labelled)
    opening = Opening(prompt, prompt, latents, led, known, given=True)
    return film(world, go_on_from(world, opening, count, actions, sampling)[1:])


def continue_film(
    world: World, made: Tensor, acts: Tensor | None, frames: int, prompt: str, sampling: Sampling
) -> np.ndarray:
    """Go on causally from imagined latents until there are `frames` frames."""
    video, t = film(world, made), len(made)
    if frames == t:
        return video
    inside, rest = (None, None) if acts is None else (acts[: t - 1], acts[t - 1 :])
    sampling = replace(sampling, guidance=1.0)  # the prompt is no longer new
    tail = continue_clip(world, made, inside, frames - t, rest, prompt, sampling)
    return np.concatenate([video, tail])


@torch.inference_mode()
def film(world: World, latents: Tensor) -> np.ndarray:
    """Decode `(t, c, h, w)` to `(t, h, w, 3)` uint8."""
    return world.decode(latents).cpu().numpy()
