"""What `worldsim/Drive-v0` promises. Its pixels are frozen: weights were trained on them.

If a golden frame fails, the picture has changed: that is a `Drive-v1` and a new training run, not
a new file in tests/data. `python tests/test_drive.py` wrote those files.
"""

import json
import math
import sys
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
import simulators
from worldsim.envs.drive import DriveEnv
from worldsim.envs.driver import DRAWN, STYLES
from worldsim.envs.scenes import BIOMES, CHOICES, TIMES

import worldsim  # noqa: F401  (registers the env)
from worldsim.captions import attributes

PLAIN = {"biome": "green countryside", "time": "day", "weather": "clear", "traffic": "busy"}
STRAIGHT = np.array([0.0, 0.3, 0.0], np.float32)
STATE = {
    "speed", "offset", "heading", "on_road", "curvature", "nearest_car", "x", "y", "yaw",
    "progress", "steer", "gas", "brake", "style", "biome", "time", "weather",
}  # fmt: skip

GOLDEN = {  # name: seed, arguments, actions
    "countryside": (1, {"scene": PLAIN}, 60),
    "desert-wide": (
        2,
        {
            "scene": {"biome": "desert", "time": "sunset", "weather": "clear", "traffic": "light"},
            "frame_size": (64, 96),
        },
        40,
    ),
    "city-rain-tall": (
        3,
        {
            "scene": {
                "biome": "city",
                "time": "night",
                "weather": "rain",
                "traffic": "busy",
                "next_biome": "green countryside",
            },
            "frame_size": (96, 64),
        },
        40,
    ),
    "forest-snow-hood": (
        4,
        {
            "scene": {"biome": "snowy forest", "time": "day", "weather": "snow"},
            "camera": "hood",
        },
        40,
    ),
    "autumn-fog": (
        5,
        {
            "scene": {"biome": "autumn forest", "weather": "fog", "next_biome": "desert"},
            "frame_size": (48, 80),
        },
        40,
    ),
    "drawn-changing": (6, {"change_probability": 0.1, "frame_size": (45, 61)}, 40),
}


def make(seed: int = 0, **kwargs) -> DriveEnv:
    """Return an env that has been reset and stays as it is."""
    env = DriveEnv(**{"change_probability": 0.0, "style": "clean"} | kwargs)
    env.reset(seed=seed)
    return env


def place(env: DriveEnv, xy, yaw: float, speed: float) -> None:
    """Put the car somewhere."""
    ride = env.ride
    ride.put(xy, yaw, speed)
    ride.index = env.land.locate(ride.xy)
    ride.arc, ride.lateral = env.land.offset(ride.xy, ride.index)


def play_golden(name: str) -> tuple[np.ndarray, dict]:
    """Return what `simulators.play` does of an episode of `GOLDEN`."""
    seed, kwargs, steps = GOLDEN[name]
    env = DriveEnv(**{"change_probability": 0.0, "style": "clean"} | kwargs)

    def act(k):
        return [math.sin(k / 5), 0.5, 0.0] if k % 20 < 5 else env.scripted_action(env.np_random)

    return simulators.play(env, seed, (np.float32(act(k)) for k in range(steps)))


@pytest.mark.parametrize("name", GOLDEN)
def test_the_picture_stays_as_it_was_trained_on(name):
    simulators.check_golden("drive", name, *play_golden(name))


def test_a_biome_that_is_asked_for_stays():
    scene = {"biome": "desert"}
    with DriveEnv(scene=scene) as env:
        for seed in range(20):
            env.reset(seed=seed)
            assert set(env.land.biomes) == {"desert"}


def test_the_same_seed_and_actions_give_the_same_episode():
    actions = np.random.default_rng(5).uniform([-1, 0, 0], [1, 1, 0.3], (20, 3)).astype(np.float32)
    simulators.check_seeds(*(DriveEnv(change_probability=0.1) for _ in range(2)), actions)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 64), (72, 128), (45, 37), (16, 16)])
@pytest.mark.parametrize("camera", ["chase", "hood"])
def test_frames_have_the_size_asked_for(size, camera):
    simulators.check_size(DriveEnv(frame_size=size, camera=camera), size, STRAIGHT)


def test_frames_are_fresh_arrays():
    simulators.check_fresh_arrays(make(), STRAIGHT)


@pytest.mark.parametrize(
    "key, least",
    [("biome", 5.0), ("time", 20.0), ("weather", 8.0), ("traffic", 0.05), ("camera", 2.0)],
)
def test_every_value_of_a_scene_shows(key, least):
    """In the mean picture of a few places, in `info["scene"]` and, the camera aside, in words."""
    values = ["chase", "hood"] if key == "camera" else list(CHOICES[key])
    env, means = None, {}
    for value in values:
        asked = PLAIN if key == "camera" else PLAIN | {key: value}
        camera = value if key == "camera" else "chase"
        env = DriveEnv(scene=asked, camera=camera, change_probability=0)
        frames, said = [], {}
        for seed in (0, 1):
            frame, info = env.reset(seed=seed, options={"style": "clean"})
            for _ in range(45):
                frames.append(frame)
                said |= attributes(info["caption"])
                assert info["scene"][key] == value
                frame, *_, info = env.step(env.scripted_action())
        said.pop("next_biome", None)
        means[value] = np.mean(frames, 0)
        assert said.items() <= info["scene"].items()
        assert key in said or key in ("traffic", "camera")
    for i, one in enumerate(values):
        for other in values[i + 1 :]:
            assert np.abs(means[one] - means[other]).mean() > least, (one, other)


def test_a_scene_comes_by_make_by_reset_and_by_seed():
    env = gym.make("worldsim:worldsim/Drive-v0", scene={"biome": "city", "time": "night"})
    _, info = env.reset(seed=3)
    assert (info["scene"]["biome"], info["scene"]["time"]) == ("city", "night")
    _, info = env.reset(seed=3, options={"scene": {"time": "day", "weather": "fog"}})
    assert (info["scene"]["biome"], info["scene"]["time"]) == ("city", "day")
    assert info["scene"]["weather"] == "fog"
    assert env.reset(seed=3)[1]["scene"]["time"] == "night"
    assert env.spec.max_episode_steps == 1000
    env.close()


def test_a_seed_draws_what_is_not_asked_for():
    """What is given does not shift what is drawn: the track and the rest stay the same."""
    env, drawn = DriveEnv(frame_size=(16, 16)), []
    for seed in range(40):
        drawn.append(env.reset(seed=seed)[1]["scene"])
    for key, values in CHOICES.items():
        counts = Counter(scene[key] for scene in drawn)
        assert set(counts) == set(values)
    assert 1 < sum("next_biome" in scene for scene in drawn) < 15
    _, free = env.reset(seed=7)
    _, asked = env.reset(seed=7, options={"scene": {"time": "night"}})
    same = [key for key in ("biome", "weather", "traffic") if key in free["scene"]]
    assert all(free["scene"][key] == asked["scene"][key] for key in same)
    assert free["state"]["x"] == asked["state"]["x"]


def test_a_scene_from_info_can_be_asked_for_again():
    env = make(2)
    for seed in range(40):  # some of them draw a second biome
        scene = env.reset(seed=seed)[1]["scene"]
        asked = {"next_biome": ""} | scene
        again = env.reset(seed=seed + 9, options={"scene": asked})[1]["scene"]
        assert sorted(again.values()) == sorted(scene.values())  # a crossing, from either side


def test_asking_the_driver_moves_nothing_else():
    """He drew from the env's own chance: the weather changed otherwise where he was not asked."""
    env, other = (make(3, style="noisy", change_probability=0.1) for _ in range(2))
    for _ in range(20):
        action = env.scripted_action()
        assert np.array_equal(env.step(action)[0], other.step(action)[0])


@pytest.mark.parametrize(
    "options", [{"scene": {"biome": "x"}}, {"biome": "desert"}, {"style": "x"}]
)
def test_a_refused_reset_changes_nothing(options):
    env, other = (make(1, change_probability=0.2) for _ in range(2))
    with pytest.raises(ValueError, match="must be one of|options are scene, style, got biome"):
        env.reset(seed=2, options=options)
    for _ in range(8):
        assert np.array_equal(env.step(STRAIGHT)[0], other.step(STRAIGHT)[0])


def test_set_scene_changes_picture_and_caption_over_ten_steps():
    env, other = (make(1, scene=PLAIN) for _ in range(2))
    env.set_scene({"time": "night", "weather": "rain"})
    gaps, said = [], {}
    for _ in range(13):
        frame, *_, info = env.step(STRAIGHT)
        plain, *_, plain_info = other.step(STRAIGHT)
        gaps.append(np.abs(frame.astype(int) - plain).mean())
        said |= attributes(info["caption"])
    assert gaps[0] < 0.35 * gaps[-1] and gaps[-1] > 40
    assert all(b > a - 3 for a, b in zip(gaps, gaps[1:], strict=False))
    assert info["scene"] == plain_info["scene"] | {"time": "night", "weather": "rain"}
    assert (said["time"], said["weather"]) == ("night", "rain")
    assert info["state"]["time"] == list(TIMES).index("night")
    assert info["state"]["x"] == plain_info["state"]["x"]  # the world itself goes on as before


@pytest.mark.parametrize("probability, least, most", [(0.0, 0, 0), (0.2, 10, 36)])
def test_time_and_weather_change_on_their_own(probability, least, most):
    """A hundred steps at 0.2 give some twenty changes, of either kind, always to another value."""
    env, changes = make(4, change_probability=probability, frame_size=(16, 16)), Counter()
    scene = env.scene
    for _ in range(100):
        env.step(STRAIGHT * 0)
        changes.update(key for key in scene if env.scene[key] != scene[key])
        scene = env.scene
    assert least <= changes.total() <= most
    assert set(changes) == ({"time", "weather"} if probability else set())


def test_a_track_can_cross_into_another_biome():
    env = make(0, scene=PLAIN | {"next_biome": "desert", "traffic": "empty"}, style="clean")
    land = env.land
    frames = {}
    for part in (0.25, 0.75):
        i = int(part * len(land.track))
        place(env, land.track[i] + land.right[i] * 18, land.heading(i), 0.0)
        frame, *_, info = env.step(STRAIGHT * 0)
        biome, following = info["scene"]["biome"], info["scene"]["next_biome"]
        assert {biome, following} == {"green countryside", "desert"}
        assert attributes(info["caption"])["biome"] == biome
        assert info["state"]["biome"] == list(BIOMES).index(biome)
        frames[biome] = np.median(frame[32:], (0, 1))  # the ground's colour
    assert list(frames) == ["green countryside", "desert"]
    for biome, colour in frames.items():
        assert colour == pytest.approx(
            np.mean([BIOMES[biome].ground, BIOMES[biome].patches], 0), abs=15
        )


def test_the_biome_changes_while_driving():
    env = make(0, scene=PLAIN | {"next_biome": "desert", "traffic": "empty"}, style="clean")
    middle = len(env.land.track) // 2
    place(env, env.land.track[middle - 6], env.land.heading(middle - 6), 15.0)
    seen = [env.step(env.scripted_action())[-1]["scene"]["biome"] for _ in range(40)]
    assert seen[0] == "green countryside" and seen[-1] == "desert"
    assert seen == sorted(seen, reverse=True)  # once and not back


def test_reward_is_progress_less_time():
    """A lap earns 1,000, half a point goes with every action's five physics steps."""
    env = make(3, scene=PLAIN | {"traffic": "empty"}, style="noisy")
    progress = env._state()["progress"]
    for _ in range(80):
        _, reward, *_, info = env.step(env.scripted_action())
        gained = info["state"]["progress"] - progress
        progress = info["state"]["progress"]
        assert reward == pytest.approx(1000 * gained - 0.5, abs=1e-6)
        assert type(reward) is float and not info["collision"]


def test_progress_is_about_a_point_a_metre():
    env = make(3, scene=PLAIN | {"traffic": "empty"}, style="clean")
    assert env.land.arc[-1] == pytest.approx(1000, rel=0.2)
    place(env, env.land.track[30], env.land.heading(30), 15.0)
    before, total = env.ride.xy, 0.0
    for _ in range(10):
        total += env.step(env.scripted_action())[1] + 0.5
    assert total == pytest.approx(np.linalg.norm(env.ride.xy - before), rel=0.25)


def test_standing_and_driving_backwards_cost():
    env = make(3, scene=PLAIN | {"traffic": "empty"})
    i = env.ride.index
    place(env, env.land.track[i], env.land.heading(i), 0.0)
    assert env.step(STRAIGHT * 0)[1] == pytest.approx(-0.5, abs=0.05)
    place(env, env.land.track[i], env.land.heading(i) + math.pi, 15.0)
    assert env.step(STRAIGHT * 0)[1] < -1.5


def test_bumping_into_a_car_costs_once():
    env = make(1, scene=PLAIN | {"traffic": "busy"})
    i = env.ride.index
    at = env.land.track[i] + env.land.right[i] * 3.2
    place(env, at, env.land.heading(i), 12.0)
    traffic = env.traffic
    traffic.direction[0], traffic.lateral[0], traffic.speed[0] = 1, 3.2, 4.0
    traffic.arc[0] = env.ride.arc + 8.0
    traffic._place()
    rewards, bumps = [], []
    for _ in range(6):
        _, reward, *_, info = env.step(STRAIGHT)
        rewards.append(reward)
        bumps.append(info["collision"])
    assert sum(bumps) == 1 and type(bumps[0]) is bool
    assert rewards[bumps.index(True)] < -15 and min(
        reward for reward, bump in zip(rewards, bumps, strict=True) if not bump
    ) > -5  # fmt: skip


def test_an_episode_ends_under_the_gantry():
    env = make(0, scene=PLAIN | {"traffic": "empty"}, style="clean")
    place(env, env.land.track[-15], env.land.heading(len(env.land.track) - 15), 12.0)
    for _ in range(100):
        _, reward, terminated, truncated, info = env.step(env.scripted_action())
        assert (type(terminated), type(truncated)) == (bool, bool)
        if terminated:
            break
    assert terminated and not truncated and abs(info["state"]["offset"]) < 7
    assert reward > -1 and np.linalg.norm(env.ride.xy - env.land.track[0]) < 8


def test_starting_behind_the_gantry_does_not_end_the_episode():
    env = make(0, scene=PLAIN | {"traffic": "empty"}, style="clean")
    place(env, env.land.track[3], env.land.heading(3), 12.0)
    assert not any(env.step(env.scripted_action())[2] for _ in range(10))


def test_an_episode_ends_at_the_barrier():
    env = make(0, scene=PLAIN | {"traffic": "empty"})
    for _ in range(150):
        _, _, terminated, truncated, _ = env.step(np.float32([0, 0.6, 0]))
        if terminated:
            break
    assert terminated and not truncated
    gap = env.land.extent - np.abs(env.ride.xy).max()
    assert 0 < gap < 3.5  # the barrier stands at 1.5, half a car is before it


def test_the_barrier_is_red_and_white_and_in_sight():
    env = make(0, scene=PLAIN | {"traffic": "empty"})
    place(env, (env.land.extent - 14, 0), -math.pi / 2, 0.0)
    frame = env.step(STRAIGHT * 0)[0].astype(int)
    place(env, (env.land.extent - 14, 0), math.pi / 2, 0.0)
    away = env.step(STRAIGHT * 0)[0].astype(int)

    def red(picture):  # the car itself is red, and in both
        return ((picture[..., 0] > 150) & (picture[..., 1] < 80) & (picture[..., 2] < 80)).sum()

    assert red(frame) > red(away) + 20


def test_info_holds_the_truth():
    env = make(5, scene=PLAIN)
    _, reset_info = env.reset(seed=5)
    action = np.array([-0.25, 0.5, 0.125], np.float32)
    _, reward, *_, info = env.step(action)
    for one in (reset_info, info):
        assert set(one) == {"caption", "scene", "state", "carracing_reward", "collision"}
        assert set(one["state"]) == STATE
        assert all(isinstance(value, float) for value in one["state"].values())
        json.dumps(one, default=float)
    state = info["state"]
    assert [state[key] for key in ("steer", "gas", "brake")] == action.tolist()
    hull = env.ride.physics.car.hull
    assert (state["x"], state["y"]) == tuple(hull.position)
    assert state["speed"] == pytest.approx(math.hypot(*hull.linearVelocity))
    assert state["nearest_car"] == pytest.approx(
        min(100, *np.linalg.norm(env.traffic.xy - env.ride.xy, axis=1))
    )
    assert [list(CHOICES[key])[int(state[key])] for key in ("biome", "time", "weather")] == [
        info["scene"][key] for key in ("biome", "time", "weather")
    ]
    assert (info["scene"]["camera"], info["scene"]["simulator"]) == ("chase", "drive")


def test_offset_heading_and_road_are_measured_from_the_centre_line():
    env = make(0, scene=PLAIN | {"traffic": "empty"})
    i, land = env.ride.index, env.land
    for lateral, yaw, road in ((2.0, 0.0, 1.0), (-3.0, 0.2, 1.0), (12.0, -0.2, 0.0)):
        place(env, land.track[i] + land.right[i] * lateral, land.heading(i) + yaw, 0.0)
        state = env._state()
        assert state["offset"] == pytest.approx(lateral, abs=0.7)
        assert state["heading"] == pytest.approx(yaw, abs=0.15)
        assert state["on_road"] == road
    assert state["nearest_car"] == 100.0


def test_carracing_reward_is_the_original_one():
    """CarRacing's rule: 1,000 for all tiles together, less 0.1 a physics step."""
    env = make(8, scene=PLAIN | {"traffic": "empty"})
    total = 0.0
    for _ in range(20):
        total += env.step(STRAIGHT)[-1]["carracing_reward"]
    assert total == pytest.approx(
        env.ride.physics.tile_visited_count * 1000 / len(env.ride.physics.track) - 0.1 * 100
    )


def test_an_action_lasts_five_physics_steps_of_a_fiftieth():
    env = make(0)
    before = env.ride.physics.t
    env.step(STRAIGHT)
    assert env.ride.physics.t - before == pytest.approx(0.1)
    assert env.metadata["render_fps"] == 10 and type(env.metadata["render_fps"]) is int


def test_actions_beyond_their_bounds_are_clipped():
    env, other = make(0), make(0)
    frame, *_, info = env.step(np.float32([-5, 3, -1]))
    assert np.array_equal(frame, other.step(np.float32([-1, 1, 0]))[0])
    assert info["state"]["steer"] == -1


def test_left_is_negative():
    headings = {}
    for steer in (-0.5, 0.0, 0.5):
        env = make(0, scene=PLAIN | {"traffic": "empty"})
        place(env, env.land.track[20], env.land.heading(20), 12.0)
        yaw = env._state()["yaw"]
        for _ in range(5):
            info = env.step(np.float32([steer, 0.1, 0]))[-1]
        headings[steer] = info["state"]["yaw"] - yaw
    assert headings[-0.5] > 0.2 and headings[0.5] < -0.2 and abs(headings[0.0]) < 0.05


def test_keys_mean_actions():
    import pygame

    env = make(0)
    keys = env.get_keys_to_action()
    assert all(env.action_space.contains(action) for action in keys.values())
    assert () not in keys  # gymnasium has a `noop` for that
    assert keys[(pygame.K_LEFT,)][0] < 0 < keys[(pygame.K_d,)][0]
    assert keys[tuple(sorted((pygame.K_UP, pygame.K_RIGHT)))][1] > 0


@pytest.fixture(scope="module")
def drives():
    """What the scripted driver did: of each style, some episodes of actions and states."""
    told = {style: [] for style in STYLES}
    for style in STYLES:
        env = DriveEnv(style=style, frame_size=(16, 16), change_probability=0)
        for seed in range(6):
            env.reset(seed=seed)
            rng, actions, states = np.random.default_rng(seed), [], []
            for _ in range(100):
                actions.append(env.scripted_action(rng))
                *_, terminated, _, info = env.step(actions[-1])
                states.append(info["state"])
                if terminated:
                    break
            told[style].append((np.stack(actions), states))
    return told


def test_a_clean_driver_stays_on_the_road(drives):
    for _, states in drives["clean"]:
        assert np.mean([state["on_road"] for state in states]) > 0.97
        assert max(abs(state["offset"]) for state in states) < 6.7
    assert np.mean([s["speed"] for _, states in drives["clean"] for s in states]) > 8


def test_styles_differ_as_their_names_say(drives):
    steer = {k: np.mean([a[:, 0].std() for a, _ in v]) for k, v in drives.items()}
    road = {k: np.mean([s["on_road"] for _, ss in v for s in ss]) for k, v in drives.items()}
    assert steer["clean"] < 0.7 * min(steer["noisy"], steer["exploratory"])
    assert road["clean"] > road["noisy"] > road["exploratory"] > 0.5
    styles = {k: {s["style"] for _, ss in v for s in ss} for k, v in drives.items()}
    assert styles == {"clean": {0.0}, "noisy": {1.0}, "exploratory": {2.0}, "recalling": {3.0}}


def test_an_exploratory_driver_does_what_people_do(drives):
    """It stands idle for a while, brakes hard and turns the wheel to its stop, both ways."""
    actions = [actions for actions, _ in drives["exploratory"]]
    assert max(_longest((~a.any(1)).tolist()) for a in actions) >= 8
    every = np.concatenate(actions)
    assert every[:, 0].min() < -0.9 and every[:, 0].max() > 0.9
    assert every[:, 2].max() >= 0.8 and every[:, 1].max() > 0.9
    assert all(np.abs(a).max() <= 1 and a.dtype == np.float32 for a in actions)


def test_a_recalling_driver_does_again_what_it_did_on_another_stretch(drives):
    """Swapped actions of ordinary drivers are what a dream is asked to obey; it records them."""
    streaks = []
    for actions, _ in drives["recalling"]:
        rows = [row.tobytes() for row in actions]
        streaks.append(_longest([row in rows[:i] for i, row in enumerate(rows)]))
    assert sorted(streaks)[-2] >= 16


def test_styles_are_drawn_by_seed_or_asked_for():
    env = DriveEnv(frame_size=(16, 16))
    styles = []
    for seed in range(18, 38):
        env.reset(seed=seed)
        styles.append(env.driver.style)
    assert set(styles) == set(DRAWN)
    env.reset(seed=0, options={"style": "noisy"})
    assert env.driver.style == "noisy"


@pytest.mark.parametrize(
    "error, scene, message",
    [
        (ValueError, {"biom": "desert"}, "keys are biome, time.*got 'biom'"),
        (ValueError, {"biome": "jungle"}, "`biome` must be one of green.*got 'jungle'"),
        (ValueError, {"time": ["day"]}, r"`time` must be one of day.*got \['day'\]"),
        (ValueError, {"camera": "hood"}, "camera must be the env's, 'chase', got 'hood'"),
        (TypeError, "desert", "must be a dict such as .* got str"),
    ],
)
def test_unknown_scenes_are_refused(error, scene, message):
    with pytest.raises(error, match=message):
        DriveEnv(scene=scene)
    env = DriveEnv()
    with pytest.raises(error, match=message):
        env.reset(seed=0, options={"scene": scene})


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"camera": "drone"}, "`camera` must be one of chase, hood, got 'drone'"),
        ({"frame_size": (8, 64)}, "at least 16 pixels, got"),
        ({"frame_size": 64}, "`frame_size` must be .h, w. .* got 64"),
        ({"frame_size": (64, 64, 3)}, "`frame_size` must be .h, w."),
        ({"style": "drunk"}, "`style` must be one of None, clean.*got 'drunk'"),
    ],
)
def test_unknown_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DriveEnv(**kwargs)


def test_set_scene_refuses_what_cannot_change():
    env = make(0)
    with pytest.raises(ValueError, match="only time and weather change .* got biome"):
        env.set_scene({"biome": "desert"})
    with pytest.raises(ValueError, match="`weather` must be one of .* got 'hail'"):
        env.set_scene({"weather": "hail"})


@pytest.mark.parametrize("action", [[0.0, 0.0], 0.5, [[0.0, 0, 0]], [np.nan, 0, 0], [0, np.inf, 0]])
def test_actions_that_are_none_are_refused(action):
    env = make(0, frame_size=(16, 16))
    with pytest.raises(ValueError, match="three finite numbers .steer, gas, brake., got .* shape"):
        env.step(action)
    env.step(STRAIGHT)


def test_nothing_works_before_reset():
    simulators.check_nothing_works(DriveEnv(), STRAIGHT, {"time": "day"})


def test_close_can_be_called_twice():
    simulators.check_closing(make(0), STRAIGHT)


def test_a_window_shows_the_picture():
    simulators.check_window(make(0, render_mode="human"), STRAIGHT)


def _longest(flags: list[bool]) -> int:
    """Return the length of the longest run of True."""
    best = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        best = max(best, run)
    return best


if __name__ == "__main__":
    simulators.write_golden("drive", GOLDEN, play_golden)
    sys.exit()
