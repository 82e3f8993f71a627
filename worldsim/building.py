"""A world put together from a trained tokenizer, trained dynamics and a data set to begin in."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from worldsim.clips import action_scaling, lead
from worldsim.corruption import VARIETY
from worldsim.datasets.episodes import Episode, Episodes
from worldsim.datasets.subsets import tags
from worldsim.dynamics import Dynamics
from worldsim.starts import Starts
from worldsim.tokenizer import Tokenizer
from worldsim.world import World, WorldConfig

REFRESH = 0.5  # of a new world: less does not keep its dreams among pictures for long
GUIDANCE = 3.0  # of a new world that knows prompts: at 1 one that has changed is hardly followed


def build_world(
    dataset: Episodes,
    tokenizer: Tokenizer,
    dynamics: Dynamics,
    *,
    name: str,
    starts: int = 32,
    frames: int = 16,
    scaling: tuple | None = None,
    more: Sequence[Episodes] = (),
    before: Iterable[str] = (),
) -> World:
    """Put a world together: start clips are cut from a data set, spread over its captions.

    Args:
        dataset: What the models were trained on, or held-out episodes.
        tokenizer: Trained.
        dynamics: Trained.
        name: Of the world.
        starts: Number of start clips, at most.
        frames: Frames in each.
        scaling: Of the actions, where it is not what `action_scaling` says of `dataset`.
        more: What else the models were trained on.
        before: Tags of what their weights had learned from before that.
    """
    world = assemble(dataset, tokenizer, dynamics, name=name, scaling=scaling, more=more)
    usual = max(1, int(np.median(dataset.lengths)))
    clips = _start_clips(dataset, starts, min(frames, usual))
    latents = torch.stack([world.encode(clip.frames) for clip in clips]).cpu()
    actions = torch.stack([torch.from_numpy(world.scale_actions(c.actions)) for c in clips])
    known = torch.from_numpy(np.stack([clip.known for clip in clips]))
    captions = tuple(clip.caption for clip in clips)
    words = tuple(world.words(c).cpu() for c in captions) if any(captions) else ()
    starts = Starts(latents, actions, known, captions, words)
    learned_from = {tag for part in (dataset, *more) for tag in tags(part)}.union(before)
    return World(world.cfg, tokenizer, dynamics, starts, learned_from)


def assemble(
    dataset: Episodes,
    tokenizer: Tokenizer,
    dynamics: Dynamics,
    *,
    name: str,
    scaling: tuple | None = None,
    more: Sequence[Episodes] = (),
) -> World:
    """Put a world together that has no start clips yet; arguments as for `build_world`."""
    low, high = scaling or action_scaling(dataset)
    sets = (dataset, *more)

    def any_has(say: Callable[[Episode], bool]) -> bool:
        return any(say(part.outline(i)) for part in sets for i in range(len(part)))

    captioned = any_has(lambda episode: any(episode.captions))
    cfg = WorldConfig(
        name=name, fps=dataset.info.fps, frame_size=dataset.info.frame_size,
        action_space=dataset.info.to_json()["action_space"],
        action_low=low.tolist(), action_high=high.tolist(),
        env_id=dataset.info.env_id, env_kwargs=dict(dataset.info.env_kwargs),
        keys=dataset.info.keys, tokenizer=tokenizer.cfg, dynamics=dynamics.cfg,
        guidance=GUIDANCE if captioned else 1.0, refresh=REFRESH, variety=VARIETY,
        labelled=any_has(lambda episode: bool(episode.action_known.any())),
    )  # fmt: skip
    none = torch.zeros(0)
    return World(cfg, tokenizer, dynamics, Starts(none, none, none, (), ()))


@dataclass(frozen=True)
class _Clip:
    """Frames `(t, h, w, 3)`, the actions `(t, a)` that led to them, which are known, a caption."""

    frames: np.ndarray
    actions: np.ndarray
    known: np.ndarray
    caption: str


def _start_clips(dataset: Episodes, count: int, frames: int) -> list[_Clip]:
    """Cut one clip each, with one caption and an episode to come, from `count` episodes.

    Every caption gets a clip before one gets a second, and cleanly driven episodes go first; among
    these the next is the one whose scene has been shown least. Clips are cut by turns from where an
    episode begins and from anywhere in it: what is seen later, a dream hardly gets to by itself.
    """
    found, scenes = [], {}
    for i in range(len(dataset)):
        episode = dataset.outline(i)
        going = len(episode.caption_index) - bool(episode.terminated[-1:].any())
        places = _steady(episode.caption_index[:going], frames)
        if places:
            at = places[0]
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
    clips, shown, rng = [], Counter(), np.random.default_rng(0)
    while queue and len(clips) < count:
        one = min(queue, key=lambda c: (*c[:2], sum(shown[part] for part in scenes[c[2]]), c[2]))
        queue.remove(one)
        _, _, i, at, caption = one
        shown.update(scenes[i])
        episode = dataset[i]
        if len(clips) % 2:
            later = _steady(
                episode.caption_index[:-frames], frames, episode.captions.index(caption)
            )
            at = int(rng.choice(later or [at]))
        part = slice(at, at + frames)
        led, known = lead(episode.actions)[part], lead(episode.action_known)[part]
        clips.append(_Clip(episode.frames[part], led, known, caption))
    return clips


def _steady(index: Sequence[int], frames: int, caption: int | None = None) -> list[int]:
    """Return where stretches of `frames` frames under one caption begin; None is any of them."""
    index = np.asarray(index)
    changes = np.cumsum(np.diff(index, prepend=index[:1]) != 0)
    first = max(0, len(index) - frames + 1)
    steady = changes[:first] == changes[frames - 1 : frames - 1 + first]
    return np.flatnonzero(steady & ((caption is None) | (index[:first] == caption))).tolist()
