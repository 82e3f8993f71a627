"""Worlds as Gymnasium environments: what a user of `gym.make` can rely on."""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pygame
import pytest
import torch
from conftest import CAPTIONS, make_tiny_world
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from worldsim.env import WorldEnv
from worldsim.loading import load
from worldsim.rollout import Rollout
from worldsim.vector_env import WorldVectorEnv
from worldsim.world import World

ID = "worldsim:worldsim/World-v0"
ACTIONS = np.random.default_rng(0).uniform([-1, 0, 0], 1, (20, 3)).astype(np.float32)
BATCH = np.random.default_rng(1).uniform([-1, 0, 0], 1, (20, 3, 3)).astype(np.float32)
FRAMES = np.random.default_rng(2).integers(0, 256, (5, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def world():
    return make_tiny_world(endless=True)


@pytest.fixture(scope="module")
def path(world, tmp_path_factory):
    return str(world.save(tmp_path_factory.mktemp("worlds") / "endless"))


@pytest.fixture
def env(world):
    return WorldEnv(world)


def film(env, actions, /, seed=3, **options):
    first = env.reset(seed=seed, options=options)[0]
    return np.stack([first, *(env.step(action)[0] for action in actions)])


def assert_frames(a, b, levels=1):
    """Two ways to compute the same frames in float32 may round apart."""
    assert a.dtype == b.dtype == np.uint8 and a.shape == b.shape
    assert np.abs(a.astype(int) - b.astype(int)).max() <= levels


def decode(world, latents):
    return world.decode(latents.float()).numpy()


# gymnasium's rules


@pytest.mark.parametrize("name", ["worldsim/World-v0", "worldsim/Drive-v0"])
def test_gymnasiums_checker_has_nothing_to_say(name, path):
    settings = {"world": path} if "World" in name else {}
    env = gymnasium.make(f"worldsim:{name}", **settings).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)
    env.close()


def test_stable_baselines_checker_has_nothing_to_say(world):
    """It wants at least 36 pixels a side; that gas is in [0, 1] is the only thing it minds."""
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "We recommend you to use a symmetric")
        checker.check_env(WorldEnv(world, frame_size=(40, 40)), skip_render_check=False)


def test_make_gives_an_env_whose_spec_is_json(path):
    env = gymnasium.make(ID, world=path, prompt=CAPTIONS[0], frame_size=(32, 48))
    assert json.loads(env.spec.to_json())["kwargs"]["prompt"] == CAPTIONS[0]
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert_frames(film(env, ACTIONS[:2]), film(again, ACTIONS[:2]), 0)
    assert env.observation_space == spaces.Box(0, 255, (32, 48, 3), np.uint8)
    assert env.metadata["render_fps"] == 10 and isinstance(env.metadata["render_fps"], int)


def test_worlds_run_in_processes_that_are_forked(path):
    """They waited for OpenMP's threads, which stay behind, for ever."""
    script = f"""
import gymnasium, torch
torch.ones(4_000_000).add_(1)  # OpenMP's threads are there
envs = gymnasium.make_vec({ID!r}, 2, vectorization_mode="async", world={str(path)!r})
envs.reset(seed=0)
envs.step(envs.action_space.sample())
envs.close()
"""
    two = os.environ | {"OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", script], env=two, timeout=300, check=True)


def test_make_vec_gives_one_batched_env_that_keeps_the_episode_limit(path):
    envs = gymnasium.make_vec(ID, num_envs=2, world=path, max_episode_steps=3)
    assert isinstance(envs.unwrapped, WorldVectorEnv)
    assert envs.metadata["autoreset_mode"] is envs.unwrapped.autoreset_mode
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert json.loads(envs.spec.to_json())
    assert envs.reset(seed=0)[0] in envs.observation_space
    ended = np.stack([envs.step(actions)[2:4] for actions in BATCH[:3, :2]])  # (3, 2, 2)
    assert ended.sum() == 2 and ended[2, 1].all()
    assert gymnasium.make_vec(ID, 2, world=path).unwrapped.horizon == 40


def test_a_single_env_speaks_plain_python(env):
    observation, info = env.reset(seed=0)
    assert type(info["prompt"]) is str and set(info) == {"prompt"}
    observation, reward, terminated, truncated, info = env.step(ACTIONS[0])
    assert observation in env.observation_space and env.render() in env.observation_space
    assert [type(x) for x in (reward, terminated, truncated)] == [float, bool, bool]
    assert type(info["termination"]) is float and 0 <= info["termination"] <= 1


@pytest.mark.parametrize("obs", ["pixels", "torch", "latents"])
@pytest.mark.parametrize("batched", [False, True])
def test_observations_and_infos_are_fresh_at_every_call(world, obs, batched):
    """What one env returns is scribbled on, what its twin returns is kept; neither shows later."""

    def results(env):
        yield env.reset(seed=1)
        for action in BATCH[:4] if batched else ACTIONS[:4]:
            yield env.step(action)

    envs = [
        WorldVectorEnv(world, 3, obs=obs, horizon=2) if batched else WorldEnv(world, obs=obs)
        for _ in range(2)
    ]
    kept = []
    for scribbled, clean in zip(*map(results, envs), strict=True):
        np.testing.assert_array_equal(scribbled[0], clean[0])
        assert scribbled[-1].keys() == clean[-1].keys()
        kept.append((clean[0], np.asarray(clean[0]).copy()))
        scribbled[0][...] = 0
        scribbled[-1].clear()
        np.testing.assert_array_equal(envs[0].render(), envs[1].render())
        envs[0].render()[0][...] = 0
    for observation, as_it_was in kept:
        np.testing.assert_array_equal(observation, as_it_was)


def test_step_before_reset_says_so(world):
    for env, action in ((WorldEnv(world), ACTIONS[0]), (WorldVectorEnv(world, 3), BATCH[0])):
        for call in (lambda: env.step(action), env.render, env.snapshot, env.autopilot_action):  # noqa: B023
            with pytest.raises(ResetNeeded, match="reset"):
                call()


def test_an_episode_ends_at_its_horizon_and_must_then_be_reset(world):
    env = WorldEnv(world, horizon=2)
    for _ in range(2):
        env.reset()
        assert env.step(ACTIONS[0])[2:4] == (False, False)
        assert env.step(ACTIONS[1])[2:4] == (False, True)
        with pytest.raises(ResetNeeded, match="ended"):
            env.step(ACTIONS[2])


def test_an_episode_ends_where_the_world_takes_it_for_ended(world):
    doomed = make_tiny_world()
    doomed.dynamics.agent.bias[doomed.dynamics.cfg.bins] = 100
    env = WorldEnv(doomed)
    env.reset(seed=0)
    *_, terminated, truncated, info = env.step(ACTIONS[0])
    assert terminated and not truncated and info["termination"] > 0.5


@pytest.mark.parametrize("render_mode", ["rgb_array", "human", None])
def test_closing_twice_is_fine(world, render_mode):
    env = WorldEnv(world, render_mode=render_mode)
    env.reset(seed=0)
    env.step(ACTIONS[0])
    assert (env.render() is None) == (render_mode != "rgb_array")
    env.close()
    env.close()
    assert render_mode != "human" or not pygame.display.get_init()


def test_keys_stand_for_actions_without_a_display(env):
    pygame.display.quit()
    keys = env.get_keys_to_action()
    assert not pygame.display.get_init()
    left, up = pygame.K_LEFT, pygame.K_UP
    assert keys.keys() == {(left,), (left, up), (pygame.K_d,)}
    assert all(action in env.action_space for action in keys.values())
    np.testing.assert_array_equal(keys[left, up], np.float32([-1, 1, 0]))


def test_gymnasiums_play_drives_a_world(path):
    """A binding without keys, which recordings hold, is refused there and was once passed on."""
    from gymnasium.utils.play import play

    env, seen = gymnasium.make(ID, world=path), []

    def watch(before, after, action, reward, terminated, truncated, info):
        seen.append(action)
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_LEFT))
        if len(seen) == 3:
            pygame.event.post(pygame.event.Event(pygame.QUIT))

    play(env, callback=watch, noop=np.zeros(3, np.float32), seed=0)
    np.testing.assert_array_equal(seen, np.float32([[0, 0, 0], [-1, 0, 0], [-1, 0, 0]]))


# one world after another, and many at once


def test_the_same_seed_and_actions_give_the_same_frames(world):
    first = film(WorldEnv(world), ACTIONS[:6])
    assert_frames(first, film(WorldEnv(world), ACTIONS[:6]), 0)
    assert (first != film(WorldEnv(world), ACTIONS[:6], seed=4)).any()
    env = WorldEnv(world)
    film(env, ACTIONS[:3], seed=9)
    assert_frames(first, film(env, ACTIONS[:6]), 0)


def test_a_reset_without_seed_goes_on_drawing_where_the_last_one_stopped(world):
    one, other = WorldEnv(world), WorldEnv(world)
    for env in (one, other):
        env.reset(seed=5)
    drawn = [(one.reset()[0], other.reset()[0]) for _ in range(4)]
    for a, b in drawn:
        assert_frames(a, b, 0)
    assert any((a != drawn[0][0]).any() for a, _ in drawn)  # other start clips
    assert one.np_random_seed == 5
    one.reset(seed=np.int64(5))
    assert one.np_random_seed == 5


@pytest.mark.parametrize("options", [{}, {"prompt": CAPTIONS[1]}, {"frames": FRAMES}])
def test_row_i_of_a_batch_is_the_single_env_with_the_next_seeds(world, options):
    together = film(WorldVectorEnv(world, 3), BATCH[:6], seed=3, **options)
    for row in range(3):
        alone = film(WorldEnv(world), BATCH[:6, row], seed=3 + row, **options)
        assert_frames(together[:, row], alone)


def test_rows_take_seeds_of_their_own(world):
    together = film(WorldVectorEnv(world, 3), BATCH[:3], seed=np.array([8, 1, 8]))
    for row, seed in enumerate([8, 1, 8]):
        assert_frames(together[:, row], film(WorldEnv(world), BATCH[:3, row], seed=seed))


def test_resetting_some_rows_leaves_the_others_alone(world):
    alone, other = WorldVectorEnv(world, 3), WorldVectorEnv(world, 3)
    for envs in (alone, other):
        film(envs, BATCH[:5])
    mask = np.array([False, True, False])
    before = other.render()
    observations, infos = other.reset(seed=20, options={"reset_mask": mask})
    assert_frames(observations[mask], WorldEnv(world).reset(seed=21)[0][None])
    assert_frames(observations[~mask], np.stack(before)[~mask], 0)
    assert infos["_prompt"].tolist() == mask.tolist()
    a, b = (np.stack([envs.step(x)[0] for x in BATCH[5:11]]) for envs in (alone, other))
    assert_frames(a[:, ~mask], b[:, ~mask])
    assert (a[:, mask] != b[:, mask]).any()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_batch_resets_itself_as_gymnasiums_own_vector_envs_do(world, mode):
    """Every result and every info equals those of a `SyncVectorEnv` of single envs."""
    ours = WorldVectorEnv(world, 3, horizon=3, autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: WorldEnv(world, horizon=3)] * 3, autoreset_mode=mode)
    ended, ends = np.zeros(3, bool), 0
    for t, actions in enumerate(BATCH[:10]):
        mask = (np.arange(3) == 1) if t == 2 else ended  # so that rows end at different times
        results = []
        for envs in (ours, theirs):
            if t == 0:
                results.append(envs.reset(seed=7))
            elif t == 2 or (mode is AutoresetMode.DISABLED and ended.any()):
                results.append(envs.reset(options={"reset_mask": mask.copy()}))
        for envs in (ours, theirs):
            results.append(envs.step(actions))
        for a, b in zip(results[::2], results[1::2], strict=True):
            assert_same_results(a, b)
        ended = results[-1][2] | results[-1][3]
        ends += ended.sum()
    assert ends >= 6


def assert_same_results(ours, theirs):
    assert_frames(ours[0], theirs[0])
    for a, b in zip(ours[1:-1], theirs[1:-1], strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=1e-3)
    assert_same_infos(ours[-1], theirs[-1])


def assert_same_infos(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, a in ours.items():
        b = theirs[key]
        if isinstance(a, dict):
            assert_same_infos(a, b)
        elif key == "final_obs":
            for one, other in zip(a, b, strict=True):
                assert one is other is None or assert_frames(one, other) is None
        elif a.dtype == float:
            np.testing.assert_allclose(a, b, atol=1e-3)
        else:
            assert a.dtype == b.dtype and a.tolist() == b.tolist(), key


def test_a_row_that_ends_shows_its_last_frame_and_begins_anew_in_the_same_step(world):
    envs = WorldVectorEnv(world, 3, horizon=2)
    single = WorldEnv(world, horizon=2)
    film(envs, BATCH[:1], seed=0)
    envs.reset(seed=0, options={"reset_mask": np.array([True, False, True])})
    observations, _, terminated, truncated, infos = envs.step(BATCH[1])
    assert truncated.tolist() == [False, True, False] and not terminated.any()
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == truncated.tolist()
    assert infos["_termination"].tolist() == [True, False, True]
    assert infos["final_info"]["_termination"].tolist() == truncated.tolist()
    last = film(single, BATCH[:2, 1], seed=1)[-1]
    assert_frames(infos["final_obs"][1], last)
    assert_frames(observations[1], single.reset()[0])


def test_an_automatic_reset_begins_as_the_last_explicit_one_did(world):
    envs = WorldVectorEnv(world, 2, horizon=2)
    envs.reset(seed=0, options={"start": [2, 0], "prompt": CAPTIONS[1]})
    envs.set_prompt(CAPTIONS[2])
    for t in range(2):
        observations, *_, infos = envs.step(BATCH[t, :2])
        assert infos["prompt"].tolist() == [CAPTIONS[1 if t else 2]] * 2
    assert_frames(observations, decode(world, world.starts.latents[[2, 0], -1]), 0)
    assert infos["final_info"]["prompt"].tolist() == [CAPTIONS[2]] * 2


# how an episode begins


def test_prompts_come_by_make_reset_and_set_prompt_and_are_echoed(world):
    env = WorldEnv(world, prompt=CAPTIONS[0])
    assert env.reset(seed=0)[1]["prompt"] == CAPTIONS[0]
    assert env.reset(options={"prompt": CAPTIONS[1]})[1]["prompt"] == CAPTIONS[1]
    assert env.step(ACTIONS[0])[-1]["prompt"] == CAPTIONS[1]
    env.set_prompt(CAPTIONS[2])
    assert env.step(ACTIONS[0])[-1]["prompt"] == CAPTIONS[2]
    env.set_prompt(None)
    assert env.step(ACTIONS[0])[-1]["prompt"] == ""
    assert env.reset()[1]["prompt"] == CAPTIONS[0]


def test_a_new_prompt_takes_effect_with_the_next_frame(world):
    plain, changed = WorldEnv(world), WorldEnv(world)
    a, b = (film(env, ACTIONS[:3], prompt=CAPTIONS[0]) for env in (plain, changed))
    changed.set_prompt(CAPTIONS[1])
    assert_frames(plain.render(), changed.render(), 0)
    assert (plain.step(ACTIONS[3])[0] != changed.step(ACTIONS[3])[0]).any()


def test_every_row_can_have_a_prompt_of_its_own(world):
    prompts = [CAPTIONS[2], None, CAPTIONS[0]]
    for envs, options in (
        (WorldVectorEnv(world, 3, prompt=prompts), {}),
        (WorldVectorEnv(world, 3), {"prompt": prompts}),
    ):
        observations, infos = envs.reset(seed=4, options=options)
        assert infos["prompt"][[0, 2]].tolist() == [CAPTIONS[2], CAPTIONS[0]]
        assert infos["prompt"][1] in CAPTIONS  # of the start clip that was drawn
        for row, prompt in enumerate(prompts):
            alone = WorldEnv(world, prompt=prompt).reset(seed=4 + row)[0]
            assert_frames(observations[row], alone)
        envs.set_prompt([None, CAPTIONS[1], None])
        assert envs.step(BATCH[0])[-1]["prompt"].tolist() == ["", CAPTIONS[1], ""]


def test_a_prompt_alone_imagines_the_first_frame_from_nothing(world, env):
    starts = decode(world, world.starts.latents[:, -1])
    first, other = (env.reset(seed=0, options={"prompt": p})[0] for p in CAPTIONS[:2])
    assert (first != other).any() and not (first == starts).all((1, 2, 3)).any()


def test_an_episode_begins_at_a_recorded_start_clip(world, env):
    starts = decode(world, world.starts.latents[:, -1])
    for start in (0, np.int64(2)):
        observation, info = env.reset(options={"start": start})
        assert_frames(observation, starts[start], 0)
        assert info["prompt"] == CAPTIONS[start]
    drawn = [env.reset()[0] for _ in range(20)]
    assert {int((frame == starts).all((1, 2, 3)).argmax()) for frame in drawn} == {0, 1, 2}
    observations, _ = WorldVectorEnv(world, 3).reset(options={"start": [2, 0, 2]})
    assert_frames(observations, starts[[2, 0, 2]], 0)


def test_the_nearest_start_has_the_caption_that_means_what_the_prompt_does(world, env):
    starts = decode(world, world.starts.latents[:, -1])
    options = {"start": "nearest", "prompt": CAPTIONS[2]}
    assert_frames(env.reset(options=options)[0], starts[2], 0)
    options["prompt"] = [CAPTIONS[2], CAPTIONS[0], CAPTIONS[1]]
    envs = WorldVectorEnv(world, 3)
    assert_frames(envs.reset(options=options)[0], starts[[2, 0, 1]], 0)
    options |= {"prompt": [CAPTIONS[1], None, None], "reset_mask": np.array([True, False, False])}
    assert_frames(envs.reset(options=options)[0], starts[[1, 0, 1]], 0)


def test_what_an_env_on_a_device_has_shown_can_be_given_back(world):
    envs = WorldVectorEnv(world, 2, obs="torch")
    frames = torch.stack([envs.reset(seed=0)[0], envs.step(ACTIONS[:2])[0]], 1)
    assert frames.shape == (2, 2, 32, 32, 3)
    given = [
        WorldVectorEnv(world, 2).reset(options={"frames": each})[0]
        for each in (frames, frames.numpy(), list(frames))
    ]
    assert (given[0] == given[1]).all() and (given[0] == given[2]).all()


def test_a_start_clip_is_read_under_its_own_caption_and_goes_on_under_the_prompt(env):
    at_once = film(env, ACTIONS[:3], start=1, prompt=CAPTIONS[2])
    observation, _ = env.reset(seed=3, options={"start": 1})
    env.set_prompt(CAPTIONS[2])
    later = np.stack([observation, *(env.step(action)[0] for action in ACTIONS[:3])])
    assert_frames(at_once, later, 0)
    assert (at_once[1:] != film(env, ACTIONS[:3], start=1)[1:]).any()


@pytest.mark.parametrize("told", [True, False])
def test_an_episode_goes_on_from_given_frames_and_actions(world, env, told):
    """As a rollout does that is told which action led to which frame; the first is not read.

    Where nobody tells, it takes the mean of those that the world's start clips tell of.
    """
    led = ACTIONS[:4] if told else None
    frames = film(env, ACTIONS[4:7], frames=FRAMES, actions=led)
    assert_frames(frames[0], decode(world, world.encode(FRAMES[-1])))
    rollout = Rollout(world, 1)
    rollout.seed([0], [int(seeding.np_random(3)[0].integers(2**62))])
    scaled = torch.from_numpy(ACTIONS * [1, 2, 2] - [0, 1, 1]).float()  # to [-1, 1]
    usual = world.starts.actions.float()[world.starts.known].mean(0)
    rest = scaled[:4] if told else usual.expand(4, -1)
    rollout.prefill([0], world.encode(FRAMES)[None], torch.cat([torch.zeros(1, 3), rest])[None])
    expected = [decode(world, rollout.step(action[None]).latents)[0] for action in scaled[4:7]]
    assert_frames(frames[1:], np.stack(expected))


def test_an_episode_goes_on_from_a_single_image(world, env):
    image = film(env, ACTIONS[:2], frames=FRAMES[-1])
    assert_frames(image, film(env, ACTIONS[:2], frames=FRAMES[-1:], actions=[]), 0)
    assert_frames(image[0], decode(world, world.encode(FRAMES[-1])))


def test_frames_beyond_the_context_do_not_matter(world, env):
    long = np.concatenate([FRAMES, FRAMES[::-1], FRAMES])
    led = ACTIONS[: len(long) - 1]
    kept = film(env, ACTIONS[:3], frames=long[-8:], actions=led[-7:])
    assert_frames(film(env, ACTIONS[:3], frames=long, actions=led), kept, 0)


def test_frames_may_be_any_view_of_an_array(env):
    """Torch refuses views that run backwards, and warns of read-only ones."""
    mirrored, locked = FRAMES[:, :, ::-1], FRAMES.copy()
    locked.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_frames(film(env, [], frames=mirrored), film(env, [], frames=mirrored.copy()), 0)
        assert_frames(film(env, [], frames=locked), film(env, [], frames=FRAMES), 0)


def test_every_row_can_go_on_from_a_clip_of_its_own(world):
    clips, led = [FRAMES, FRAMES[::-1][:3]], [ACTIONS[:4], ACTIONS[4:6]]
    together = film(WorldVectorEnv(world, 2), BATCH[:4, :2], frames=clips, actions=led)
    for row in range(2):
        options = {"frames": clips[row], "actions": led[row]}
        alone = film(WorldEnv(world), BATCH[:4, row], seed=3 + row, **options)
        assert_frames(together[:, row], alone)
    stacked = np.stack([FRAMES, FRAMES[::-1]])
    envs = WorldVectorEnv(world, 2)
    assert_frames(
        envs.reset(options={"frames": stacked})[0], decode(world, world.encode(stacked[:, -1]))
    )


def test_other_frame_sizes_are_imagined_from_nothing(world):
    env = WorldEnv(world, frame_size=(32, 56))
    frames = film(env, ACTIONS[:2])
    assert frames.shape == (3, 32, 56, 3) and frames[0] in env.observation_space
    assert env.render().shape == (32, 56, 3)
    with pytest.raises(ValueError, match="none of 56x32"):
        env.reset(options={"start": 0})


# other faces


def test_agents_on_the_device_see_tensors_or_latents_of_the_same_frames(world):
    pixels, tensors, latents = (
        WorldVectorEnv(world, 3, obs=obs, horizon=2) for obs in ("pixels", "torch", "latents")
    )
    results = [envs.reset(seed=0) for envs in (pixels, tensors, latents)]
    for actions in (BATCH[0], BATCH[1]):
        frames, seen, z = (result[0] for result in results)
        assert isinstance(seen, torch.Tensor) and seen.dtype == torch.uint8
        assert z.shape == latents.observation_space.shape and z.dtype == torch.float32
        assert_frames(seen.numpy(), frames, 0)
        assert_frames(decode(world, z), frames, 0)
        assert_frames(np.stack(latents.render()), frames, 0)
        results = [pixels.step(actions), tensors.step(torch.from_numpy(actions))]
        results.append(latents.step(actions))
    last = [result[-1]["final_obs"][1] for result in results]
    assert_frames(last[1].numpy(), last[0], 0)
    assert_frames(decode(world, last[2]), last[0], 0)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4, start=1),
        spaces.MultiDiscrete([3, 2]),
        spaces.MultiBinary(3),
        spaces.Dict({"look": spaces.Box(-2, 2, (2,)), "jump": spaces.Discrete(2)}),
    ],
    ids=lambda space: type(space).__name__,
)
def test_any_action_space_can_be_stepped(space):
    world = make_tiny_world(space, keys=[], endless=True)
    space.seed(0)
    env, envs = WorldEnv(world), WorldVectorEnv(world, 2)
    env.reset(seed=0), envs.reset(seed=0)
    batch = gymnasium.vector.utils.batch_space(space, 2)
    for _ in range(3):
        env.step(space.sample()), envs.step(batch.sample())
    assert env.autopilot_action() in space and envs.autopilot_action() in batch
    if isinstance(space, spaces.Discrete):
        nexts, moment = [], env.snapshot()
        for choice in (2, np.int64(2), np.array(2), np.array([2]), torch.tensor(2)):
            env.restore(moment)
            nexts.append(env.step(choice)[0])
        assert all((frame == nexts[0]).all() for frame in nexts)


def test_ended_episodes_go_back_only_where_others_begin(world):
    """In an env that knows no ended rows they went on, past their horizon, whatever was done."""
    ends, goes = (
        WorldVectorEnv(world, 2, horizon=1, autoreset_mode=mode)
        for mode in ("NextStep", "SameStep")
    )
    for envs in (ends, goes):
        envs.reset(seed=0)
    ends.step(ends.action_space.sample())
    with pytest.raises(ValueError, match="episodes that have ended.*SameStep"):
        goes.restore(ends.snapshot())
    ends.restore(ends.snapshot())


def test_a_world_that_learned_no_words_takes_no_prompt(world):
    """It echoed the prompt, and was disturbed by it."""
    starts = replace(world.starts, captions=("",) * len(world.starts.captions), words=())
    bare = World(world.cfg, world.tokenizer, world.dynamics, starts)
    with pytest.raises(ValueError, match="recorded without captions.*'a desert road'"):
        WorldEnv(bare, prompt="a desert road")
    env = WorldEnv(bare, prompt="")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="recorded without captions"):
        env.set_prompt("night")


def test_a_snapshot_of_another_kind_of_env_is_refused_and_changes_nothing(world):
    """It was taken, half of it or all, and the env was broken from then on."""
    env = WorldEnv(world)
    env.reset(seed=0)
    others = [
        WorldEnv(world, frame_size=(48, 32)), WorldEnv(world, obs="torch"),
        WorldVectorEnv(world, 2),
    ]  # fmt: skip
    for other in others:
        other.reset(seed=0)
        with pytest.raises(ValueError, match="a snapshot goes back into an env of as many rows"):
            env.restore(other.snapshot())
    latents = WorldEnv(world, obs="latents")
    latents.reset(seed=0)
    with pytest.raises(ValueError, match="a snapshot goes back into an env of as many rows"):
        latents.restore(others[1].snapshot())
    with pytest.raises(ValueError, match="got str, here"):
        env.restore("yesterday")
    alike = make_tiny_world()  # of the same name, size and shape
    alike.dynamics.agent.bias.data += 1
    alike = WorldEnv(alike)
    alike.reset(seed=0)
    with pytest.raises(ValueError, match="and of a world"):
        env.restore(alike.snapshot())
    other = env.snapshot()
    halves = {name: getattr(other.rollout, name).double() for name in ("latents", "action")}
    with pytest.raises(ValueError, match="torch.float64"):
        env.restore(replace(other, rollout=replace(other.rollout, **halves)))
    twin = WorldEnv(world)
    twin.reset(seed=0)
    for action in ACTIONS[:2]:
        assert_frames(env.step(action)[0], twin.step(action)[0], 0)


def test_an_env_may_go_in_and_out_of_inference_mode(world):
    """A planner restores and resets within it, what follows does not know of it."""
    envs, plain = (WorldVectorEnv(world, 3, horizon=6, obs="torch") for _ in range(2))
    for each, mode in ((envs, True), (plain, False)):
        with torch.inference_mode(mode):
            each.reset(seed=0)
            each.step(BATCH[0])
            each.restore(each.snapshot())
        each.reset(options={"reset_mask": np.array([True, False, True])})
        each.set_prompt(CAPTIONS[0])
    assert envs.step(BATCH[1])[0].equal(plain.step(BATCH[1])[0])
    with torch.inference_mode():
        loaded = load(Path(__file__).parent / "data/world-v5")
    assert not loaded.dynamics.agent.weight.is_inference()


def test_guidance_counts_for_given_frames_too(world):
    films = []
    for guidance in (1.0, 8.0):
        env = WorldEnv(world, guidance=guidance)
        env.reset(seed=0, options={"frames": FRAMES, "prompt": CAPTIONS[0]})
        films.append(env.step(ACTIONS[0])[0])
    assert (films[0] != films[1]).any()


def test_a_refused_seed_changes_nothing(world):
    env, twin = WorldEnv(world), WorldEnv(world)
    for each in (env, twin):
        each.reset(seed=0)
    for seed, error in (([3], TypeError), (1.5, TypeError), (-1, ValueError)):
        with pytest.raises(error, match="`seed` must be"):
            env.reset(seed=seed)
    assert_frames(env.step(ACTIONS[0])[0], twin.step(ACTIONS[0])[0], 0)


@pytest.mark.parametrize(
    "seed, error", [(1.5, TypeError), (True, TypeError), (-1, ValueError), ([0, -1], ValueError),
                    ([0], ValueError), ([0, "1"], TypeError)],
)  # fmt: skip
def test_rows_refuse_the_seeds_that_one_env_refuses(world, seed, error):
    with pytest.raises(error, match="`seed` must be"):
        WorldVectorEnv(world, 2).reset(seed=seed)


def test_envs_of_one_world_draw_actions_of_their_own(world):
    one, other = WorldEnv(world), WorldEnv(world)
    one.action_space.seed(0)
    expected = [one.action_space.sample() for _ in range(2)]
    one.action_space.seed(0)
    first = one.action_space.sample()
    other.action_space.seed(0)
    np.testing.assert_array_equal([first, one.action_space.sample()], expected)


def test_a_window_that_opens_after_close_can_be_closed(world):
    envs = WorldVectorEnv(world, 2, render_mode="human")
    for _ in range(2):
        envs.reset(seed=0)
        assert pygame.display.get_init()
        envs.close()
        assert not pygame.display.get_init()


def test_a_window_outlives_that_of_another_env(world):
    first, second = (WorldEnv(world, render_mode="human") for _ in range(2))
    for env in (first, second):
        env.reset(seed=0)
    first.close()
    second.step(ACTIONS[0])
    second.close()
    assert not pygame.display.get_init()
    second.reset(seed=0)
    second.close()
    assert not pygame.display.get_init()


@pytest.mark.parametrize("obs", ["pixels", "latents"])
def test_one_moment_goes_on_in_many_rows_and_one_of_many_alone(world, obs):
    """Plans are tried side by side, and the best one is gone on with."""
    alone = WorldEnv(world, obs=obs)
    several = WorldVectorEnv(world, 3, obs=obs)
    alone.reset(seed=1), several.reset(seed=2)
    alone.step(ACTIONS[0])
    several.restore(alone.snapshot().rows([0] * 3))
    plans, seen = ACTIONS[1:7].reshape(2, 3, 3), []
    for actions in plans:
        seen = several.step(actions)[0]
    for row in range(3):
        single = WorldEnv(world, obs=obs)
        single.reset(seed=3)
        single.restore(alone.snapshot().rows([0]))
        for actions in plans:
            frame = single.step(actions[row])[0]
        assert np.abs(np.float32(frame) - np.float32(seen[row])).max() <= 2
    begun = several.reset()[0]  # once the plans are over, each row has episodes of its own
    assert any((np.float32(one) != np.float32(begun[0])).any() for one in begun[1:])
    several.restore(alone.snapshot().rows([0] * 3))
    alone.restore(several.snapshot().rows([2]))
    after = several.step(ACTIONS[:3])[0][2]
    assert np.abs(np.float32(alone.step(ACTIONS[2])[0]) - np.float32(after)).max() <= 2


def test_a_snapshot_continues_exactly_and_can_be_used_again(world):
    envs = WorldVectorEnv(world, 3, horizon=6)
    film(envs, BATCH[:4], seed=0)
    moment = envs.snapshot()
    futures = []
    for _ in range(2):
        envs.restore(moment)
        futures.append([envs.step(actions) for actions in BATCH[4:9]])  # past an automatic reset
        envs.reset(seed=99, options={"prompt": CAPTIONS[0]})
    for a, b in zip(*futures, strict=True):
        assert_frames(a[0], b[0], 0)
        np.testing.assert_array_equal(a[1], b[1])
        assert a[-1]["prompt"].tolist() == b[-1]["prompt"].tolist()


def test_the_autopilot_drives_within_bounds(world):
    env = WorldEnv(world)
    env.reset(seed=0)
    for _ in range(3):
        action = env.autopilot_action()
        assert action in env.action_space
        env.step(action)


# refusals: the rule, the value and a way out


@pytest.mark.parametrize(
    "settings, error, words",
    [
        (
            {"world": "atlantis"},
            FileNotFoundError,
            ["must be a shipped world", "'atlantis'", "train"],
        ),
        ({"world": 3}, TypeError, ["must be a name, a folder", "int"]),
        ({"prompt": 3}, TypeError, ["`prompt` must be a string", "int 3"]),
        ({"frame_size": (33, 32)}, ValueError, ["multiples of 8", "32x33", "resize to 32x32"]),
        ({"frame_size": "32x32"}, TypeError, ["(h, w)", "'32x32'", "leave it out"]),
        ({"frame_size": (32.0, 32.0)}, TypeError, ["whole numbers", "32.0"]),
        ({"device": "meta"}, ValueError, ["`device`", "cpu", "'meta'", "load the world there"]),
        ({"render_mode": "ascii"}, ValueError, ["`render_mode`", "rgb_array, human", "'ascii'"]),
        ({"obs": "text"}, ValueError, ["`obs`", "pixels, torch, latents", "'text'"]),
        ({"horizon": 0}, ValueError, ["`horizon` must be at least 1", "got 0"]),
        ({"horizon": "long"}, TypeError, ["`horizon` must be a whole number", "'long'"]),
        ({"sampler_steps": 3}, ValueError, ["power of two", "3"]),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(world, settings, error, words):
    with pytest.raises(error) as caught:
        WorldEnv(**{"world": world} | settings)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "settings, error, words",
    [
        ({"num_envs": 0}, ValueError, ["`num_envs` must be at least 1", "0"]),
        ({"prompt": [CAPTIONS[0]] * 2}, ValueError, ["one per env in a list of 3", "2"]),
        ({"autoreset_mode": "later"}, ValueError, ["`autoreset_mode`", "NextStep", "'later'"]),
        ({"max_episode_steps": 0}, ValueError, ["`max_episode_steps`", "0"]),
    ],
)
def test_a_setting_of_a_batch_that_does_not_fit_is_refused(world, settings, error, words):
    with pytest.raises(error) as caught:
        WorldVectorEnv(**{"world": world, "num_envs": 3} | settings)
    assert all(word in str(caught.value) for word in words), caught.value


REFUSED_RESETS = [
    ({"weather": "rain"}, ValueError, ["options are prompt, start", "weather"]),
    ({"prompt": 3}, TypeError, ["`prompt` must be a string", "int 3"]),
    ({"start": 3}, ValueError, ["from 0 to 2", "got 3"]),
    ({"start": True}, TypeError, ["whole number", "True"]),
    ({"start": np.array(1.5)}, TypeError, ["whole number", "1.5"]),
    ({"prompt": np.array(CAPTIONS[0])}, TypeError, ["`prompt` must be a string", "ndarray"]),
    ({"start": "first"}, ValueError, ["nearest", "'first'"]),
    ({"start": "nearest"}, ValueError, ["compares captions with a prompt", "pass `prompt`"]),
    ({"start": 0, "frames": FRAMES}, ValueError, ["from `start` or from `frames`"]),
    ({"frames": FRAMES / 255}, TypeError, ["uint8", "float64"]),
    ({"frames": FRAMES[:, :16]}, ValueError, ["(t, 32, 32, 3)", "(5, 16, 32, 3)", "resize"]),
    ({"frames": FRAMES[:0]}, ValueError, ["(t, 32, 32, 3)", "(0, 32, 32, 3)"]),
    ({"frames": 3}, TypeError, ["uint8", "int64"]),
    ({"frames": FRAMES, "actions": ACTIONS[:5]}, ValueError, ["4 here", "got 5", "frame i"]),
    ({"frames": FRAMES, "actions": ACTIONS[:4] + 9}, ValueError, ["must lie within", "clip"]),
    ({"actions": ACTIONS[:4]}, ValueError, ["pass `frames`"]),
]
REFUSED_STEPS = [
    (ACTIONS[0, :2], ValueError, ["must have shape (3,)", "(2,)", "sample()"]),
    (ACTIONS[:1], ValueError, ["must have shape (3,)", "(1, 3)"]),
    (np.float32([0, np.nan, 0]), ValueError, ["finite", "nan"]),
    (np.float32([0, 2, 0]), ValueError, ["must lie within", "2.", "clip"]),
    ("left", TypeError, ["must be numbers", "str"]),
    (None, TypeError, ["must be numbers", "None"]),
]


@pytest.mark.parametrize("options, error, words", REFUSED_RESETS)
def test_a_reset_that_cannot_be_is_refused_and_changes_nothing(world, env, options, error, words):
    """A refused reset once took its seed along."""
    untouched = WorldEnv(world)
    for each in (env, untouched):
        film(each, ACTIONS[:2], seed=1)
    with pytest.raises(error) as caught:
        env.reset(seed=2, options=options)
    assert all(word in str(caught.value) for word in words), caught.value
    with pytest.raises(TypeError, match="`options` must be a dict"):
        env.reset(seed=2, options="start")
    assert_frames(env.render(), untouched.render(), 0)
    assert_frames(env.step(ACTIONS[2])[0], untouched.step(ACTIONS[2])[0], 0)
    assert env.np_random_seed == 1
    assert [env.reset()[1] for _ in range(4)] == [untouched.reset()[1] for _ in range(4)]


@pytest.mark.parametrize("action, error, words", REFUSED_STEPS)
def test_an_action_that_cannot_be_is_refused_and_changes_nothing(world, env, action, error, words):
    untouched = WorldEnv(world)
    for each in (env, untouched):
        film(each, ACTIONS[:2], seed=1)
    with pytest.raises(error) as caught:
        env.step(action)
    assert all(word in str(caught.value) for word in words), caught.value
    assert_frames(env.step(ACTIONS[2])[0], untouched.step(ACTIONS[2])[0], 0)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda e: e.reset(seed=[1, 2]), ValueError, ["one per env in a list of 3", "[1, 2]"]),
        (lambda e: e.reset(seed=[1, 2, -3]), ValueError, ["at least 0", "-3"]),
        (lambda e: e.reset(options={"reset_mask": [True]}), ValueError, ["(3,) bool", "[True]"]),
        (lambda e: e.reset(options={"reset_mask": [False] * 3}), ValueError, ["a True in it"]),
        (lambda e: e.reset(options={"start": [0, 1]}), ValueError, ["one per env (3)", "got 2"]),
        (lambda e: e.reset(options={"frames": [FRAMES] * 2}), ValueError, ["one per env", "got 2"]),
        (lambda e: e.set_prompt([CAPTIONS[0]]), ValueError, ["a list of 3", "got 1"]),
        (lambda e: e.set_prompt([CAPTIONS[0], 1, None]), TypeError, ["must be a string", "int 1"]),
        (lambda e: e.step(BATCH[0, :2]), ValueError, ["one action per env (3)", "got 2"]),
        (lambda e: e.step(BATCH[0] * np.nan), ValueError, ["finite", "nan"]),
        (lambda e: e.step(3), TypeError, ["a batch in", "int", "sample()"]),
    ],
)
def test_what_a_batch_cannot_do_is_refused_and_changes_nothing(world, call, error, words):
    envs, untouched = WorldVectorEnv(world, 3), WorldVectorEnv(world, 3)
    for each in (envs, untouched):
        film(each, BATCH[:2], seed=1)
    with pytest.raises(error) as caught:
        call(envs)
    assert all(word in str(caught.value) for word in words), caught.value
    ours, theirs = envs.step(BATCH[2]), untouched.step(BATCH[2])
    assert_frames(ours[0], theirs[0], 0)
    assert ours[-1]["prompt"].tolist() == theirs[-1]["prompt"].tolist()
    ours, theirs = envs.reset(), untouched.reset()
    assert_frames(ours[0], theirs[0], 0)


def test_nobody_reads_the_action_of_a_row_that_is_being_reset(world):
    envs = WorldVectorEnv(world, 3, horizon=1, autoreset_mode="NextStep")
    film(envs, BATCH[:1])
    assert not envs.step(BATCH[0] * np.nan)[3].any()
    with pytest.raises(ValueError, match="finite"):
        envs.step(BATCH[0] * np.nan)


def test_rows_that_ended_wait_for_their_reset(world):
    envs = WorldVectorEnv(world, 3, horizon=2, autoreset_mode="Disabled")
    with pytest.raises(ResetNeeded, match="begins every row"):
        envs.reset(options={"reset_mask": np.array([True, False, True])})
    film(envs, BATCH[:1])
    envs.reset(options={"reset_mask": np.array([True, False, True])})
    assert envs.step(BATCH[1])[3].tolist() == [False, True, False]
    with pytest.raises(ResetNeeded, match=r"rows \[1\]"):
        envs.step(BATCH[2])
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert envs.step(BATCH[2])[3].tolist() == [True, False, True]
