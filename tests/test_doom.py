"""What `worldsim/Doom-v0` promises. Its pixels are frozen: weights were trained on them.

If a golden frame fails, the picture has changed: that is a `Doom-v1` and a new training run, not
a new file in tests/data. `python tests/test_doom.py` wrote those files.
"""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import simulators
from gymnasium.utils.env_checker import check_env
from worldsim.envs.doom import DoomEnv
from worldsim.envs.doom_drivers import MOVES, SHOOT, TURN, WHIMS, Player, Sight
from worldsim.envs.doom_game import RESOLUTIONS
from worldsim.envs.doom_scenes import AIRS, CHOICES, MONSTERS, SCENARIOS
from worldsim.envs.wad import read_wad, write_wad

import worldsim

HALL = {"scenario": "take_cover", "theme": "brick hall", "monster": "imp", "air": "plain"}
QUIET = {"scenario": "my_way_home", "theme": "brick hall", "monster": "none", "air": "plain"}
GOLDEN = {  # name: seed, arguments, actions
    "take-cover": (1, {"scene": HALL}, 60),
    "way-home-wide": (
        2, {"scene": QUIET | {"theme": "lava hell"}, "frame_size": (64, 96)}, 40,
    ),
    "health-fog": (
        3,
        {
            "scene": {"scenario": "health_gathering", "theme": "toxic sewer", "air": "fog"},
            "frame_size": (96, 128),
        },
        40,
    ),
    "centre": (4, {"scene": {"scenario": "defend_the_center", "theme": "blue tech base"}}, 60),
    "drawn-changing": (7, {"change_probability": 0.1, "frame_size": (45, 61)}, 40),
}  # fmt: skip
needs_vizdoom = pytest.mark.skipif(
    find_spec("vizdoom") is None, reason="needs vizdoom: pip install --no-deps vizdoom"
)


@pytest.fixture(scope="module")
def env():
    """One env for many tests: starting the engine takes most of a test's time."""
    env = DoomEnv(change_probability=0.0)
    yield env
    env.close()


def begin(env: DoomEnv, seed: int = 0, **scene: str) -> dict:
    return env.reset(seed=seed, options={"scene": HALL | scene})[1]


def play_golden(name: str) -> tuple[np.ndarray, dict]:
    """Return what `simulators.play` does of an episode of `GOLDEN`."""
    seed, kwargs, steps = GOLDEN[name]
    env, rng = DoomEnv(**{"change_probability": 0.0} | kwargs), np.random.default_rng(seed)

    def act(k):
        return int(rng.integers(18)) if k % 20 < 8 else env.scripted_action()

    return simulators.play(env, seed, map(act, range(steps)))


@needs_vizdoom
@pytest.mark.parametrize("name", GOLDEN)
def test_the_picture_stays_as_it_was_trained_on(name):
    simulators.check_golden("doom", name, *play_golden(name))


@needs_vizdoom
def test_the_same_seed_and_actions_give_the_same_episode():
    actions = np.random.default_rng(5).integers(18, size=25)
    simulators.check_seeds(*(DoomEnv(change_probability=0.1) for _ in range(2)), actions)


@needs_vizdoom
def test_gymnasium_finds_nothing_to_complain_about():
    env = gym.make("worldsim:worldsim/Doom-v0").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)
    env.close()
    spec = gym.spec("worldsim/Doom-v0")
    assert spec.max_episode_steps == 525 and spec.to_json()
    assert DoomEnv.metadata["render_fps"] == 9


@needs_vizdoom
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 64), (96, 128), (45, 37), (16, 16)])
def test_frames_have_the_size_asked_for(size):
    simulators.check_size(DoomEnv(frame_size=size), size, 1)


@needs_vizdoom
def test_the_engine_draws_no_more_than_is_needed():
    """Two pixels for each of the view's, and nothing is stretched."""
    small, large = DoomEnv(), DoomEnv(frame_size=(96, 144))
    assert (small.resolution, large.resolution) == (RESOLUTIONS[0], (320, 240))
    for env in (small, large):
        (h, w), (x, y, width, height) = env.frame_size, env.crop
        assert width >= 2 * w and height >= 2 * (h - env.bar) and min(x, y) == 0
        assert width / height == pytest.approx(w / (h - env.bar), rel=0.02)


@needs_vizdoom
def test_frames_are_fresh_arrays(env):
    begin(env)
    simulators.check_fresh_arrays(env, 1)


@needs_vizdoom
@pytest.mark.parametrize("key, least", [("theme", 8.0), ("air", 8.0), ("scenario", 4.0)])
def test_every_value_of_a_scene_shows(env, key, least):
    """In the mean picture of a few places and in `info["scene"]`."""
    means = {}
    for value in CHOICES[key]:
        frames = []
        for seed in range(3):
            info = begin(
                env, seed, **{"scenario": "health_gathering", "monster": "none", key: value}
            )
            assert info["scene"][key] == value
            assert CHOICES[key][int(info["state"][key])] == value
            frames += [env.step(4)[0] for _ in range(8)]
        means[value] = np.mean(frames, 0)
    for one in means:
        for other in set(means) - {one}:
            assert np.abs(means[one] - means[other]).mean() > least, (one, other)


@needs_vizdoom
@pytest.mark.parametrize("monster", MONSTERS)
def test_foes_and_what_they_throw_are_seen(env, monster):
    """At 64x64 a foe across the room is some eight pixels tall, and its fireballs hurt."""
    begin(env, 5, monster=monster)
    heights, names, health = [], Counter(), 100.0
    for _ in range(120):
        *_, terminated, _, info = env.step(0)
        names.update(label["name"] for label in info["labels"])
        heights += [x["box"][3] for x in info["labels"] if x["name"].startswith("Foe")]
        health = min(health, info["state"]["health"])
        if terminated or (health < 100 and len(heights) > 40):
            break
    assert np.median(heights) > 7 and health < 100
    assert names[f"Ball_{monster}"] and names[f"Foe_take_cover_{monster}"]


@needs_vizdoom
def test_a_scene_comes_by_make_by_reset_and_by_seed():
    env = gym.make("worldsim:worldsim/Doom-v0", scene={"theme": "dark cave", "air": "fog"})
    _, info = env.reset(seed=3)
    assert (info["scene"]["theme"], info["scene"]["air"]) == ("dark cave", "fog")
    _, free = env.reset(seed=3, options={"scene": {"theme": "lava hell"}})
    assert free["scene"] == info["scene"] | {"theme": "lava hell"}
    assert env.reset(seed=3)[1]["scene"] == info["scene"]
    scene = env.step(0)[-1]["scene"]
    assert env.reset(seed=9, options={"scene": scene})[1]["scene"] == scene
    env.close()


def test_a_seed_draws_what_is_not_asked_for():
    from worldsim.envs.doom_scenes import draw_scene

    drawn = [draw_scene(np.random.default_rng(seed), {}) for seed in range(300)]
    for key, values in CHOICES.items():
        assert set(Counter(scene[key] for scene in drawn)) == set(values)
    assert all(s["monster"] != "none" for s in drawn if s["scenario"] == "take_cover")
    for seed, scene in enumerate(drawn):
        asked = draw_scene(np.random.default_rng(seed), {"air": "fog"})
        assert asked == scene | {"air": "fog"}


@needs_vizdoom
def test_set_scene_changes_the_air_and_nothing_else(env):
    begin(env, 2, **QUIET)
    plain = env.step(0)[0].astype(int)
    for air in AIRS[1:]:
        env.set_scene({"air": air})
        env.step(0)
        frame, *_, info = env.step(0)
        assert np.abs(frame - plain).mean() > 8 and info["scene"]["air"] == air
    env.set_scene({"air": "plain"})
    env.step(0)
    assert np.array_equal(env.step(0)[0], plain)
    with pytest.raises(ValueError, match="only the air changes .* got theme"):
        env.set_scene({"theme": "dark cave"})


@needs_vizdoom
def test_the_air_changes_on_its_own():
    env, changes = DoomEnv(change_probability=0.3, scene=QUIET), 0
    env.reset(seed=0)
    air = env.scene["air"]
    for _ in range(60):
        env.step(0)
        changes += env.scene["air"] != air
        air = env.scene["air"]
    assert 8 < changes < 30
    env.close()


@needs_vizdoom
def test_moves_do_what_their_names_say(env):
    """Angles are counter-clockwise; ahead is where the player looks."""
    for move, name in enumerate(MOVES):
        before = begin(env, 3, **QUIET | {"scenario": "health_gathering"})["state"]
        for _ in range(4):
            after = env.step(move)[-1]["state"]
        turned = math.degrees(after["yaw"] - before["yaw"] + math.pi) % 360 - 180
        wanted = TURN * 4 * (name.endswith("left") - name.endswith("right"))
        assert turned == pytest.approx(0 if "step" in name else wanted, abs=0.5), name
        gone = np.array((after["x"] - before["x"], after["y"] - before["y"]))
        ahead = np.array((math.cos(before["yaw"]), math.sin(before["yaw"])))
        along, left = gone @ ahead, gone @ np.array((-ahead[1], ahead[0]))
        assert np.sign(round(along / 30)) == ("forward" in name) - (name == "back"), name
        if "step" in name:
            assert np.sign(left) == (1 if "left" in name else -1) and abs(left) > 30


@needs_vizdoom
def test_firing_takes_ammunition_and_its_bar(env):
    begin(env, 1, **QUIET)
    full, *_, info = env.step(0)
    assert info["state"]["ammo"] == 50
    for _ in range(30):
        frame, *_, info = env.step(SHOOT)
    assert 30 < info["state"]["ammo"] < 40
    right = (slice(-env.bar + 1, -1), slice(33, -1))
    share = info["state"]["ammo"] / 50
    lit = (frame[right][..., 0].mean() - 66) / (230 - 66)
    assert lit == pytest.approx(share, abs=0.03) and full[right][..., 0].mean() > 229


@needs_vizdoom
def test_rewards_follow_what_shows(env):
    """Health's bar, a hit's and a find's colour, and the end: all of the reward is in the frame."""
    info = begin(env, 4, scenario="health_gathering", monster="none")
    health, total = info["state"]["health"], Counter()
    for _ in range(400):
        frame, reward, terminated, truncated, info = env.step(0)
        state = info["state"]
        gained, health = state["health"] - health, state["health"]
        due = 0.1 + 0.1 * gained - 10 * terminated
        assert reward == pytest.approx(due) and type(reward) is float
        assert state["hit"] == (gained < 0) and not truncated and type(terminated) is bool
        lit = (frame[-env.bar + 1 : -1, 1:31, 0].mean() - 70) / (210 - 70)
        assert lit == pytest.approx(health / 100, abs=0.03)
        total["hits"] += int(gained < 0)
        if terminated:
            break
    assert terminated and health == 0 and 10 < total["hits"] < 30
    assert frame[:50, ..., 0].mean() > 2 * frame[:50, ..., 1].mean()


@needs_vizdoom
def test_kills_and_finds_pay(env):
    """Over some scripted fights; medikits give health back."""
    seen = Counter()
    for seed in range(6):
        scenario = "defend_the_center" if seed % 2 else "health_gathering"
        begin(env, seed, scenario=scenario, monster="zombie")
        state = env._info()["state"]
        for _ in range(120):
            before = state
            _, reward, terminated, _, info = env.step(env.scripted_action())
            state = info["state"]
            due = SCENARIOS[scenario].living + 0.1 * (state["health"] - before["health"])
            due += 5 * (state["kills"] - before["kills"]) - 10 * terminated
            assert reward == pytest.approx(due)
            seen["kill"] += int(state["killed"])
            seen["pickup"] += int(state["pickup"])
            if terminated:
                break
    assert seen["kill"] > 2 and seen["pickup"] > 2


@needs_vizdoom
def test_the_armour_ends_the_way_home(env):
    """The scripted player heads for it once it is in sight of it."""
    for seed in range(20):
        begin(env, seed, **QUIET)
        env.player.whims, env.player.share = ["gather"], [1.0]
        for _ in range(200):
            _, reward, terminated, _, info = env.step(env.scripted_action())
            if terminated:
                break
        if terminated:
            break
    assert info["state"]["goal"] == 1.0 and reward == pytest.approx(10 - 0.02)


@needs_vizdoom
def test_info_holds_the_truth(env):
    _, reset_info = env.reset(seed=5)
    *_, info = env.step(10)
    for one in (reset_info, info):
        assert set(one) == {"caption", "scene", "state", "labels"}
        assert all(isinstance(value, float) for value in one["state"].values())
        json.dumps(one)
    assert set(info["state"]) == set(reset_info["state"])
    assert info["state"]["action"] == 10 and info["scene"]["simulator"] == "doom"


@needs_vizdoom
def test_labels_lie_where_things_are(env):
    """A fireball is bright: the box holds the brightest part of a dark room."""
    begin(env, 2, theme="dark cave", air="darkness")
    for _ in range(200):
        frame, *_, info = env.step(0)
        balls = [x["box"] for x in info["labels"] if x["name"] == "Ball_imp" and x["box"][3] > 6]
        if balls and not info["state"]["hit"]:
            break
    x, y, w, h = np.round(balls[0]).astype(int)
    inside = frame[max(y, 0) : min(y + h, 59), max(x, 0) : min(x + w, 64)]
    assert inside.mean() > 2 * frame[:59].mean()


@needs_vizdoom
def test_scripted_players_cover_what_people_do(env):
    """All whims, all moves, both still and firing; rooms are left and come back to."""
    whims, moves, places = Counter(), Counter(), set()
    for seed, scenario in enumerate((*SCENARIOS, "my_way_home")):
        begin(env, seed, scenario=scenario)
        rng = np.random.default_rng(seed)
        for _ in range(150):
            action = env.scripted_action(rng)
            whims[env.player.whim] += 1
            moves[action] += 1
            _, _, terminated, _, info = env.step(action)
            if scenario == "my_way_home":
                places.add((info["state"]["x"] // 100, info["state"]["y"] // 100))
            if terminated:
                break
    assert set(whims) == {whim for shares in WHIMS.values() for whim in shares}
    assert set(range(SHOOT)) <= set(moves) and sum(moves[a] for a in range(SHOOT, 18)) > 30
    assert max(moves.values()) < 0.35 * moves.total() and len(places) > 8


@pytest.mark.parametrize("aside, move", [(10.0, "step left"), (-10.0, "step right")])
def test_a_dodging_player_steps_out_of_the_way(aside, move):
    """It looks along x; the fireball flies towards it and would pass `aside` on its right."""
    nothing, walls = np.zeros((0, 2)), np.zeros((0, 2, 2))
    ball = np.array([[300.0, -aside, -10.0, 0.0]])
    sight = Sight(np.zeros(2), 0.0, nothing, ball, nothing, walls, nothing)
    player = Player("take_cover", np.random.default_rng(0))
    assert MOVES[player._dodge(sight)] == move


@needs_vizdoom
def test_keys_mean_actions():
    import pygame

    env = DoomEnv()
    keys = env.get_keys_to_action()
    assert all(env.action_space.contains(action) for action in keys.values())
    assert set(keys.values()) == set(range(1, 18)) and () not in keys
    assert keys[(pygame.K_UP,)] == keys[(pygame.K_w,)] == MOVES.index("forward")
    both = tuple(sorted((pygame.K_LEFT, pygame.K_UP, pygame.K_SPACE)))
    assert keys[both] == MOVES.index("forward left") + SHOOT


GAME = """
import time
from worldsim.envs.doom import DoomEnv
env = DoomEnv()
env.reset(seed=0)
print("ready", flush=True)
time.sleep(60)
"""


@needs_vizdoom
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_game_ends_with_its_parent_and_leaves_nothing(tmp_path):
    """Even if the parent is killed; nothing is written where it runs, nor left in /tmp."""
    root = str(Path(worldsim.__file__).parent.parent)
    parent = subprocess.Popen(
        [sys.executable, "-c", GAME], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert parent.stdout.readline() == "ready\n"
    games = [pid for pid, parents, _ in _processes() if parents == parent.pid]
    assert len(games) == 1
    command = Path(f"/proc/{games[0]}/cmdline").read_text()
    name = command.partition("+viz_instance_id\0")[2].split("\0")[0]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not any(pid == games[0] and state != "Z" for pid, _, state in _processes()):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the game lives on")
    assert not list(tmp_path.iterdir()) and name
    assert not list(Path("/dev/shm").glob(f"*{name}"))


def _processes() -> list[tuple[int, int, str]]:
    """Return the id, the parent's id and the state of each process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        found.append((int(path.parent.name), int(parent), state))
    return found


@needs_vizdoom
def test_a_game_outlives_the_thread_that_began_it():
    env = DoomEnv()
    thread = threading.Thread(target=env.reset, kwargs={"seed": 0})
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert env.step(1)[0].shape == (64, 64, 3)
    env.close()


@needs_vizdoom
def test_workers_record_what_one_process_records(tmp_path):
    """Several games at once; an episode depends on its seed alone."""
    settings = {"episodes": 3, "max_steps": 8, "progress": False}
    one = worldsim.record("worldsim/Doom-v0", **settings)
    two = worldsim.record("worldsim/Doom-v0", **settings, workers=2)
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.frames, b.frames) and a.captions == b.captions
        assert a.state.keys() == b.state.keys() and a.scene["simulator"] == "doom"


def test_without_vizdoom_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(ImportError, match="pip install --no-deps vizdoom"):
        gym.make("worldsim/Doom-v0")


@pytest.mark.parametrize(
    "error, scene, message",
    [
        (ValueError, {"thema": "lava hell"}, "keys are scenario, theme.*got 'thema'"),
        (ValueError, {"theme": "jungle"}, "`theme` must be one of brick.*got 'jungle'"),
        (ValueError, {"air": ["fog"]}, r"`air` must be one of plain.*got \['fog'\]"),
        (TypeError, "lava hell", "must be a dict such as .* got str"),
    ],
)
def test_unknown_scenes_are_refused(error, scene, message):
    with pytest.raises(error, match=message):
        DoomEnv(scene=scene)


@needs_vizdoom
def test_a_reset_with_an_option_that_nobody_reads_is_refused_and_changes_nothing(env):
    begin(env, 4)
    before = env.np_random.bit_generator.state
    with pytest.raises(ValueError, match="options are scene, got theme"):
        env.reset(seed=5, options={"theme": "lava hell"})
    assert env.np_random.bit_generator.state == before
    env.step(0)


@needs_vizdoom
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_game_whose_process_was_killed_begins_again():
    others = _games()
    env = DoomEnv()
    first = env.reset(seed=0)[0]
    (game,) = _games() - others
    os.kill(game, signal.SIGKILL)
    with pytest.raises(gym.error.ResetNeeded, match="has ended; call env.reset"):
        for _ in range(3):
            env.step(0)
    assert np.array_equal(env.reset(seed=0)[0], first)
    env.close()


def _games() -> set[int]:
    """Return the processes that this one has started."""
    return {pid for pid, parent, state in _processes() if parent == os.getpid() and state != "Z"}


@pytest.mark.parametrize("size", [(8, 64), 64, (64, 64, 3)])
def test_unknown_sizes_are_refused(size):
    with pytest.raises(ValueError, match="`frame_size` must be .h, w."):
        DoomEnv(frame_size=size)


@needs_vizdoom
@pytest.mark.parametrize("action", [18, -1, 1.5, [1], None])
def test_actions_that_are_none_are_refused(env, action):
    begin(env)
    with pytest.raises(ValueError, match="whole number from 0 to 17, got"):
        env.step(action)


@needs_vizdoom
def test_nothing_works_before_reset_and_close_works_twice():
    env = DoomEnv()
    simulators.check_nothing_works(env, 0, {"air": "fog"})
    env.reset(seed=0)
    simulators.check_closing(env, 0)


@needs_vizdoom
def test_a_window_shows_the_picture():
    simulators.check_window(DoomEnv(render_mode="human"), 1)


def test_a_wad_survives_the_disk(tmp_path):
    lumps = [("MAP01", b""), ("TEXTMAP", b"namespace"), ("TEXTMAP", bytes(range(256)))]
    write_wad(tmp_path / "a.wad", lumps)
    assert read_wad(tmp_path / "a.wad") == lumps
    (tmp_path / "b.wad").write_bytes(b"PNG" + bytes(20))
    with pytest.raises(ValueError, match="begins with IWAD or PWAD, got b'PNG"):
        read_wad(tmp_path / "b.wad")


if __name__ == "__main__":
    simulators.write_golden("doom", GOLDEN, play_golden)
    sys.exit()
