"""The hallucination alarm: what it says, what it costs nothing to leave out."""

import gymnasium
import numpy as np
import pytest
import torch
from conftest import make_tiny_world

from worldsim.doubt import Doubt, signs
from worldsim.measuring.calibration import Observed, calibrate


def observed(rng, error, c=2):
    """Make frames whose roughness tells their error exactly, among signs that tell nothing."""
    seen = rng.normal(size=(*error.shape, 2 * c + 5))
    seen[..., 2 * c + 1] = np.log(error)
    return Observed(seen.astype(np.float32), error)


@pytest.fixture
def kept():
    """The calibration where signs tell all, and the real transitions it comes from."""
    rng = np.random.default_rng(0)
    real = observed(rng, rng.uniform(1, 11, (40, 20)))
    return calibrate(observed(rng, rng.uniform(1, 40, (40, 20))), real), real


def test_a_doubt_of_one_is_as_wrong_as_the_worst_real_transitions(kept):
    kept, real = kept
    assert kept["worst"] == pytest.approx(10.5, abs=0.1)  # of a uniform error in 1 to 11
    doubt = Doubt.read(kept).of_signs(torch.from_numpy(real.signs)).numpy()
    assert (doubt > 1).mean() == pytest.approx(0.05, abs=0.005)
    assert np.corrcoef(np.log(doubt).ravel(), np.log(real.error).ravel())[0, 1] > 0.95
    assert doubt == pytest.approx(real.error / kept["worst"], rel=0.2)  # 0.5 is half as wrong


def test_doubt_is_never_below_nothing_nor_without_bound(kept):
    alarm = Doubt.read(kept[0])
    wild = torch.full((9,), 1e4) * alarm.weights.sign()
    assert float(alarm.of_signs(wild)) == 10 and float(alarm.of_signs(-wild)) >= 0


def test_signs_are_of_the_frame_and_the_one_before():
    g = torch.Generator().manual_seed(0)
    x, before = torch.randn(2, 5, 3, 8, 8, generator=g)
    lost = torch.linspace(0.1, 1, 5)
    seen = signs(x, before, lost)
    assert seen.shape == (5, 11)
    assert seen[:, :3].numpy() == pytest.approx(x.mean((2, 3)).numpy(), abs=1e-5)
    assert seen[:, 9].numpy() == pytest.approx(
        (x - before).square().mean((1, 2, 3)).sqrt().log().numpy(), abs=1e-4
    )
    assert seen[:, 10].numpy() == pytest.approx(lost.log().numpy(), abs=1e-5)
    assert torch.isfinite(signs(x, x, 0 * lost)).all()  # a frame that stands still


@pytest.fixture
def calibrated():
    """A tiny world with some alarm."""
    world = make_tiny_world(endless=True)  # an ended row begins again, without doubt
    n = 2 * world.dynamics.cfg.channels + 5
    rng = np.random.default_rng(1)
    world.cfg.doubt = {"weights": rng.normal(0, 0.1, n).tolist(), "bias": 0.0, "worst": 9.0}
    return world


def test_every_step_carries_its_doubt_singly_and_in_batches(calibrated):
    env = gymnasium.make("worldsim:worldsim/World-v0", world=calibrated)
    envs = gymnasium.make_vec("worldsim:worldsim/World-v0", num_envs=2, world=calibrated)
    assert "doubt" not in env.reset(seed=3)[1]
    assert "doubt" not in envs.reset(seed=3)[1]
    action = np.zeros(3, np.float32)
    for _ in range(3):
        info = env.step(action)[-1]
        infos = envs.step(np.stack([action, action]))[-1]
        assert type(info["doubt"]) is float and 0 <= info["doubt"] <= 10
        assert infos["doubt"][0] == pytest.approx(info["doubt"], rel=0.05)
        assert infos["_doubt"][0]


def test_a_world_that_was_never_calibrated_says_nothing():
    env = gymnasium.make("worldsim:worldsim/World-v0", world=make_tiny_world())
    env.reset(seed=0)
    assert set(env.step(env.action_space.sample())[-1]) == {"prompt", "termination"}


def test_doubt_survives_the_disk(calibrated, tmp_path):
    from worldsim.loading import load

    again = load(calibrated.save(tmp_path / "world"))
    assert Doubt.of(again).weights.numpy() == pytest.approx(Doubt.of(calibrated).weights.numpy())


def test_going_back_in_time_gives_the_same_doubt(calibrated):
    env = gymnasium.make("worldsim:worldsim/World-v0", world=calibrated).unwrapped
    env.reset(seed=2)
    action = env.action_space.sample()
    for _ in range(2):
        env.step(action)
    moment = env.snapshot()
    first = [env.step(action)[-1]["doubt"] for _ in range(5)]
    env.restore(moment)
    assert [env.step(action)[-1]["doubt"] for _ in range(5)] == first
