"""Turn any env and policy into episodes, in this process or in several.

Frames come from the observation if it is an image, else from `env.render()`. Captions, scene and
ground truth come from `info["caption"]`, `info["scene"]` and `info["state"]` where an env offers
them. Episode `i` is recorded with seed `seed + i`, so neither the number of workers nor an
interruption changes the data.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import gymnasium
from gymnasium import Env
from tqdm import tqdm

from worldsim.data import DiskDataset
from worldsim.datasets.episodes import DatasetInfo, Episode, MemoryDataset
from worldsim.datasets.observing import (
    build_episode,
    describe,
    observed_reward,
    observed_scene,
    observed_truth,
)
from worldsim.datasets.writing import DatasetWriter, stage_episode
from worldsim.filmed import names_function, open_any, open_env
from worldsim.images import frame_of
from worldsim.limits import check_counts, check_given
from worldsim.policies import chooser, find_policy
from worldsim.spaces import Policy, flatten_action
from worldsim.workers import run_parallel

STEP_LIMIT = 100_000  # an env that never ends is a mistake, not a long episode


def record(
    env: str | Env | Callable[[], Env],
    out: str | Path | None = None,
    *,
    episodes: int,
    policy: str | Policy = "scripted",
    workers: int = 1,
    seed: int = 0,
    max_steps: int | None = None,
    progress: bool = True,
    quality: str = "training",
) -> MemoryDataset | DiskDataset:
    """Record episodes of an env under a policy.

    Args:
        env: An id for `gymnasium.make`, `module:function` that makes an env, an env, or a callable
            that makes one. Workers rebuild an env from its spec.
        out: Folder of the data set. If it is there already, episodes are added until it holds
            `episodes`; an interrupted recording goes on where it stopped. None keeps all in memory.
        episodes: Episodes that the data set holds in the end.
        policy: "scripted" (`env.unwrapped.scripted_action(rng)`), "random", "sticky" (random,
            held for some ten steps), "keys" (what up to two random keys stand for, held as long,
            now and then any action), `policy(observation, rng) -> action`, `module:function` that
            is one, or a file of Stable-Baselines3.
        workers: Processes that record; 1 records in this process.
        seed: Episode `i` is recorded with `seed + i`.
        max_steps: Truncate episodes after so many steps; None leaves it to the env.
        progress: Show a progress bar.
        quality: Of the videos on disk: "training", "lossless" or "people".

    Returns:
        The data set: a `DiskDataset` if `out` is given, else a `MemoryDataset`.

    Raises:
        TypeError: If `env` is no env and makes none, or cannot be sent to workers; if a count is no
            whole number.
        ValueError: If a number or the policy makes no sense, an episode never ends, or `out` was
            begun with other settings.
        FileExistsError: If `out` holds something else than a data set.
        BlockingIOError: If another process records into `out`.
    """
    check_counts(episodes=episodes, workers=workers)
    check_given(max_steps=max_steps)
    check_counts(0, seed=seed)
    probe, make = _open_env(env)
    try:
        acting = find_policy(policy, probe)
        chooser(probe, acting, seed)  # refuses a policy that does not fit this env
        info = _by_name(env, describe(probe, policy, seed, max_steps, quality))
        again = None if make is None else partial(open_setup, make, find_policy, policy)
        job, here = Job(again, seed, max_steps), Setup(probe, acting)
        if out is None:
            todo = list(range(episodes))
            done = dict(_run(job, here, todo, workers, episodes, progress))
            return MemoryDataset(info, [done[i] for i in todo])
        with DatasetWriter(out, info) as writer:
            job = replace(job, staging=(writer.staging, info))
            try:
                todo = writer.missing(episodes)
                for _ in _run(job, here, todo, workers, episodes, progress):
                    pass
            except BaseException as error:
                error.add_note(
                    f"{episodes - len(writer.missing(episodes))} of {episodes} episodes are done "
                    f"(new ones wait in {writer.staging}); run the same again to go on from there"
                )
                raise
            return writer.close()
    finally:
        if probe is not env:
            probe.close()


def record_episode(
    env: Env, policy: str | Policy = "scripted", seed: int = 0, max_steps: int | None = None
) -> Episode:
    """Record one episode, from `env.reset(seed=seed)` to its end.

    Args:
        env: Must render `rgb_array` or observe pixels.
        policy: As in `record`.
        seed: Of the env and of the policy.
        max_steps: Truncate after so many steps; None leaves it to the env.

    Raises:
        ValueError: If the policy makes no sense, or the episode never ends.
    """
    choose = chooser(env, find_policy(policy, env), seed)
    observation, info = env.reset(seed=seed)
    scene = observed_scene(info)
    frames, truths = [frame_of(env, observation)], [observed_truth(info)]
    actions, transitions = [], []
    for step in range(max_steps or STEP_LIMIT):
        action = choose(observation)
        actions.append(flatten_action(env.action_space, action))
        observation, reward, terminated, truncated, info = env.step(action)
        truncated = truncated or step + 1 == max_steps
        frames.append(frame_of(env, observation))
        truths.append(observed_truth(info))
        transitions.append((observed_reward(reward, step), terminated, truncated))
        if terminated or truncated:
            break
    else:
        raise ValueError(
            f"an episode must end, got {STEP_LIMIT} steps without an end; set `max_steps`"
        )
    return build_episode(frames, actions, transitions, truths, scene=scene, seed=seed)


@dataclass(frozen=True)
class Setup:
    """An env, and who acts in it, as `record_episode` takes them."""

    env: Env
    acting: str | Policy

    def close(self) -> None:
        """Close the env."""
        self.env.close()


def open_setup(
    make: Callable[[], Env],
    find: Callable[[str | Policy, Env], str | Policy],
    policy: str | Policy,
) -> Setup:
    """Make an env and find out who acts in it."""
    env = make()
    return Setup(env, find(policy, env))


@dataclass(frozen=True)
class Job:
    """What a process needs to know to record episodes; without `staging` it returns them."""

    open: Callable[[], Setup] | None
    seed: int
    max_steps: int | None
    staging: tuple[Path, DatasetInfo] | None = None

    def run(self, setup: Setup, index: int) -> Episode | int:
        """Record episode `index`; return it, or its length if it went to disk."""
        try:
            episode = record_episode(setup.env, setup.acting, self.seed + index, self.max_steps)
            if self.staging is None:
                return episode
            stage_episode(*self.staging, index, episode)
        except Exception as error:
            error.add_note(f"while recording {self.name(index)}")
            raise
        return len(episode)

    def name(self, index: int) -> str:
        """Say which episode that is."""
        return f"episode {index}, seed {self.seed + index}"


def run_job(
    job: Job, pieces: Iterable[int], workers: int, here: Setup | None = None
) -> Iterator[tuple[int, Episode | int]]:
    """Yield the index and the result of each episode as it gets done.

    Args:
        job: What to record.
        pieces: Indices of the episodes.
        workers: Processes that record; 1 records in this process.
        here: What is open in this process and stays so; None opens it, and closes it in the end.
    """
    if workers > 1:
        yield from run_parallel(job, pieces, workers)
        return
    setup = here or job.open()
    try:
        for index in pieces:
            yield index, job.run(setup, index)
    finally:
        if here is None:
            setup.close()


def _run(
    job: Job, here: Setup, todo: list[int], workers: int, total: int, progress: bool
) -> Iterator[tuple[int, Episode | int]]:
    """Do a job with a progress bar."""
    workers, frames = min(workers, len(todo)), 0
    if workers > 1 and job.open is None:
        raise ValueError(
            "an env without a spec cannot be rebuilt in workers; make it with "
            "`gymnasium.make`, pass a callable that makes it, or record with workers=1"
        )
    with tqdm(
        total=total,
        initial=total - len(todo),
        desc="recording",
        unit="episode",
        disable=not progress,
    ) as bar:
        for index, result in run_job(job, todo, workers, here):
            frames += 1 + (result if isinstance(result, int) else len(result))
            bar.set_postfix(frames=frames, refresh=False)
            bar.update()
            yield index, result


def _by_name(env: str | Env | Callable[[], Env], info: DatasetInfo) -> DatasetInfo:
    """Remember how the env is made again, where its spec does not say all of that."""
    made = isinstance(env, partial) and env.func is open_env
    name, kwargs = (env.args[0], env.keywords) if made else (env, {})
    if not isinstance(name, str) or name.partition(":")[0] in (name, "worldsim"):
        return info
    kwargs = kwargs if names_function(name) else info.env_kwargs
    return replace(info, env_id=name, env_kwargs=kwargs)


def _open_env(env: str | Env | Callable[[], Env]) -> tuple[Env, Callable[[], Env] | None]:
    """Return an env to look at, and what a worker calls to make another (None if unknown)."""
    if isinstance(env, str):
        made = open_env(env)
        by_function = names_function(env)  # which a spec would know nothing of
        return made, partial(open_env, env) if by_function else partial(gymnasium.make, made.spec)
    if isinstance(env, Env):
        return env, partial(gymnasium.make, env.spec) if env.spec else None
    return open_any(env), env
