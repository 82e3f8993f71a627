"""A world put together from a trained tokenizer, trained dynamics and a data set to begin in."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from worldsim.clips import action_scaling
from worldsim.dynamics import Dynamics
from worldsim.tokenizer import Tokenizer
from worldsim.world import Starts, World, WorldConfig


def build_world(
    dataset,
    tokenizer: Tokenizer,
    dynamics: Dynamics,
    *,
    name: str,
    starts: int = 32,
    frames: int = 16,
) -> World:
    """Put a world together: start clips are cut from a data set, spread over its captions.

    Args:
        dataset: What the models were trained on, or held-out episodes.
        tokenizer: Trained.
        dynamics: Trained.
        name: Of the world.
        starts: Number of start clips, at most.
        frames: Frames in each.
    """
    low, high = action_scaling(dataset)
    cfg = WorldConfig(
        name=name, fps=dataset.info.fps, frame_size=dataset.info.frame_size,
        action_space=dataset.info.to_json()["action_space"],
        action_low=low.tolist(), action_high=high.tolist(),
        env_id=dataset.info.env_id, env_kwargs=dict(dataset.info.env_kwargs),
        keys=dataset.info.keys, tokenizer=tokenizer.cfg, dynamics=dynamics.cfg,
    )  # fmt: skip
    clips = _start_clips(dataset, starts, min(frames, max(dataset.lengths) + 1))
    empty = Starts(torch.zeros(0), torch.zeros(0), (), ())
    world = World(cfg, tokenizer, dynamics, empty)
    latents = torch.stack([world.encode(f) for f, _, _ in clips]).cpu()
    actions = torch.stack([torch.from_numpy(world.scale_actions(a)) for _, a, _ in clips])
    captions = tuple(c for _, _, c in clips)
    words = tuple(world.words(c).cpu() for c in captions) if any(captions) else ()
    world.starts = Starts(latents, actions, captions, words)
    return world


def _start_clips(dataset, count: int, frames: int) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Cut one clip each, with one caption, from `count` episodes.

    Every caption gets a clip before one gets a second, and cleanly driven episodes go first; among
    these the next is the one whose scene has been shown least.
    """
    found, scenes = [], {}
    for i in range(len(dataset)):
        episode = dataset.outline(i)
        at = _steady(episode.caption_index, frames)
        if at is not None:
            clean = "style" not in episode.state or float(episode.state["style"].flat[0]) == 0
            found.append((not clean, i, at, episode.captions[episode.caption_index[at]]))
            scenes[i] = [str(item) for item in episode.scene.items()]
    if not found:  # captions change too often: the longest episode begins under its first one
        i = int(np.argmax(dataset.lengths))
        episode = dataset.outline(i)
        found.append((False, i, 0, episode.captions[episode.caption_index[0]]))
        scenes[i] = []
    turns: Counter[str] = Counter()
    queue = []
    for unclean, i, at, caption in sorted(found):
        queue.append((turns[caption], unclean, i, at, caption))
        turns[caption] += 1
    clips, shown = [], Counter()
    while queue and len(clips) < count:
        one = min(queue, key=lambda c: (*c[:2], sum(shown[part] for part in scenes[c[2]]), c[2]))
        queue.remove(one)
        _, _, i, at, caption = one
        shown.update(scenes[i])
        episode = dataset[i]
        led = np.concatenate([np.zeros_like(episode.actions[:1]), episode.actions])
        clips.append((episode.frames[at : at + frames], led[at : at + frames], caption))
    return clips


def _steady(index: Sequence[int], frames: int) -> int | None:
    """Return where the first stretch of `frames` frames under one caption begins."""
    for at in range(len(index) - frames + 1):
        if len(set(index[at : at + frames])) == 1:
            return at
    return None
