"""One loop that stops and goes on exactly, keeps the best, and never leaves half a file."""

import json
import math
import os
import signal
import subprocess
import sys
import warnings
from copy import copy, deepcopy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

import worldsim
from worldsim.architecture import DynamicsConfig
from worldsim.clips import Batch, Clips, action_scaling
from worldsim.corruption import ObjectiveConfig
from worldsim.datasets.episodes import Episode
from worldsim.datasets.subsets import hold_out, tags
from worldsim.dynamics import Dynamics
from worldsim.files import read_tensors, write_tensors
from worldsim.finishing import between
from worldsim.launch import LaunchConfig
from worldsim.logs import WandbConfig
from worldsim.measuring.dreaming import dream, rollout_quality
from worldsim.measuring.heldout import cut_usual
from worldsim.optim import MuonAdamW, orthogonalise
from worldsim.pixels import pixel_weight
from worldsim.preparing import dynamics_weights, start_from
from worldsim.runs import Run, TrainConfig
from worldsim.training import _train_step, fit, to_device

QUIET = {"minutes": 0.0, "warmup": 0, "wandb": WandbConfig("disabled")}


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 96), nn.ReLU(), nn.Linear(96, 24))


def sample(g, progress):
    return torch.randn(8, 24, generator=g)


def loss(model, ema, batch, progress, g):
    error = (model(batch) - batch.flip(1)).square().mean()
    return error, {"error": error.item()}


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_it_learns(tmp_path):
    model = small_model()
    before = loss(model, None, sample(torch.Generator(), 0), 0, None)[0]
    best = fit(model, sample, loss, TrainConfig(steps=200, **QUIET), tmp_path)
    assert loss(best, None, sample(torch.Generator(), 0), 0, None)[0] < 0.2 * before


def test_the_tensors_of_a_batch_move_to_the_device_and_nothing_else_does():
    """A batch that says which way it looks at time once went to no other device than the CPU."""
    x = torch.zeros(1, 1)
    batch = Batch(Clips(x, x, x > 0, x, x > 0, None), causal=True)
    moved = to_device(batch, torch.device("meta"))
    assert moved.causal is True and moved.clips.prompts is None
    assert {part.device.type for part in vars(moved.clips).values() if part is not None} == {"meta"}
    assert batch.clips.latents.device.type == "cpu"


@pytest.mark.parametrize("late", [60, 1000])
def test_the_average_forgets_what_was_before_the_last_part_however_few_steps_that_has(late):
    """As where a training leaves a part of the model out at first, and takes more steps then."""
    run = Run(small_model(), TrainConfig(minutes=1, wandb=WandbConfig("disabled")), "cpu")
    for value, steps in ((0.0, 2000), (1.0, late)):
        for p in run.model.parameters():
            nn.init.constant_(p, value)
        for _ in range(steps):
            run.step, run.elapsed = run.step + 1, run.elapsed + 30 / steps
            run.update_ema()
    assert 0.99 < weights(run.ema).min() <= 1


def test_the_learning_rate_of_a_second_part_begins_anew():
    cfg = TrainConfig(steps=1000, warmup=10, cooldown=0.5, wandb=WandbConfig("disabled"))
    run, scale = Run(small_model(), cfg, "cpu", anew=0.4), []
    for run.step in range(1000):
        scale.append(run.lr_scale)
    assert scale[0] == 0.1 and scale[10:200] == [1.0] * 190  # of 400 steps
    assert scale[300] == pytest.approx(0.5) and scale[399] < 0.01
    assert scale[400] == 0 and scale[440:700] == [1.0] * 260 and scale[999] < 0.01


def test_of_a_training_in_two_parts_the_end_is_kept(tmp_path):
    """The first part is judged by what it learns alone, and knows nothing else."""
    seen = []

    def evaluate(model):
        seen.append(weights(model))
        return {"score": -float(len(seen))}

    cfg = TrainConfig(steps=8, evaluate_minutes=0.0, warmup=0, wandb=WandbConfig("disabled"))
    best = fit(small_model(), sample, loss, cfg, tmp_path, judged_from=0.75, evaluate=evaluate)
    assert len(seen) == 8 and torch.equal(weights(best), seen[5])


def test_resuming_continues_exactly(tmp_path):
    whole = fit(small_model(), sample, loss, TrainConfig(steps=12, **QUIET), tmp_path / "whole")

    def stop_at_five(model, ema, batch, progress, g):
        if stop_at_five.calls == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        stop_at_five.calls += 1
        return loss(model, ema, batch, progress, g)

    stop_at_five.calls = 0
    with pytest.raises(KeyboardInterrupt, match="stopped at step 5.*resume"):
        fit(small_model(), sample, stop_at_five, TrainConfig(steps=12, **QUIET), tmp_path / "two")
    resumed = fit(small_model(), sample, loss, TrainConfig(steps=12, **QUIET), tmp_path / "two")
    assert torch.equal(weights(whole), weights(resumed))


HOLD = """
import sys, time
from pathlib import Path
from worldsim.holding import Hold

held = Hold(Path(sys.argv[1]), "trains in it")
print(flush=True)
time.sleep(60)
"""


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    """Each would go on from the other's checkpoint, and put its own in that one's place."""
    words = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(BlockingIOError, match="another process trains in .*let it end"):
            fit(small_model(), sample, loss, TrainConfig(steps=2, **QUIET), tmp_path)
        process.kill()
    fit(small_model(), sample, loss, TrainConfig(steps=2, **QUIET), tmp_path)
    assert not (tmp_path / "lock").exists()


def test_a_run_does_not_go_on_with_another_optimizer(tmp_path):
    """As after an upgrade that lets Muon step other matrices."""
    fit(small_model(), sample, loss, TrainConfig(steps=2, **QUIET), tmp_path)
    tensors, meta = read_tensors(tmp_path / "checkpoint.safetensors")
    del tensors["optimizer.momentum.1"]
    write_tensors(tmp_path / "checkpoint.safetensors", tensors, meta)
    with pytest.raises(ValueError, match="the optimizer of that worldsim.*another `out`"):
        fit(small_model(), sample, loss, TrainConfig(steps=4, **QUIET), tmp_path)


def test_a_run_draws_other_batches_than_the_one_whose_weights_it_begins_with(tmp_path):
    """With one seed a world that went on was shown what it had been shown before."""
    first, again, other = small_model(), small_model(), small_model()
    nn.init.zeros_(other[2].bias)
    drawn = [
        sample(Run(m, TrainConfig(steps=1, **QUIET), "cpu").g, 0) for m in (first, again, other)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_signal_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    fit(small_model(), sample, loss, TrainConfig(steps=1, **QUIET), tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path, monkeypatch):
    fit(small_model(), sample, loss, TrainConfig(steps=2, **QUIET), tmp_path)
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("worldsim.files.os.replace", fail)
    with pytest.raises(OSError):
        fit(small_model(), sample, loss, TrainConfig(steps=4, **QUIET), tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept


def test_the_best_score_is_kept_not_the_last(tmp_path):
    scores, seen = iter([3.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0]), []

    def evaluate(ema):
        seen.append(weights(ema).clone())
        return {"score": next(scores)}

    cfg = TrainConfig(steps=4, evaluate_minutes=1e-9, **QUIET)
    best = fit(small_model(), sample, loss, cfg, tmp_path, evaluate=evaluate)
    assert len(seen) == 4 and torch.equal(weights(best), seen[0])
    rows = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["eval/score"] for row in rows if "eval/score" in row] == [3.0, 1.0, 2.0, 0.0]


def test_weights_that_were_judged_after_the_last_checkpoint_are_not_lost(tmp_path):
    """A run that goes on began with no best score, and took whatever came first for better."""
    scores = iter([3.0, 1.0])
    judge = {"evaluate": lambda ema: {"score": next(scores)}}
    first = fit(small_model(), sample, loss, TrainConfig(steps=2, **QUIET), tmp_path, **judge)
    kept = weights(first).clone()
    again = fit(small_model(), sample, loss, TrainConfig(steps=4, **QUIET), tmp_path, **judge)
    assert torch.equal(weights(again), kept)


def test_accumulated_batches_equal_one_large_batch(monkeypatch):
    """Two halves of a batch give the gradient of the whole."""
    monkeypatch.setattr("worldsim.training.has_bf16", lambda device: False)
    batch = sample(torch.Generator().manual_seed(0), 0)
    whole, halves = (
        Run(small_model(), TrainConfig(steps=1, accumulate=n, **QUIET), torch.device("cpu"))
        for n in (1, 2)
    )
    _train_step(whole, whole.model, lambda g, _: batch, loss)
    parts = iter(batch.split(4))
    _train_step(halves, halves.model, lambda g, _: next(parts), loss)
    for a, b in zip(whole.model.parameters(), halves.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_a_broken_gradient_stops_before_it_is_saved(tmp_path):
    def broken(model, ema, batch, progress, g):
        total, metrics = loss(model, ema, batch, progress, g)
        return total * float("nan"), metrics

    with pytest.raises(FloatingPointError, match="muon_lr"):
        fit(small_model(), sample, broken, TrainConfig(steps=3, **QUIET), tmp_path)
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    "config, wrong",
    [
        (TrainConfig, {"minutes": 0.0}),
        (TrainConfig, {"batch_size": -1}),
        (TrainConfig, {"accumulate": 0}),
        (TrainConfig, {"threads": -1}),
        (TrainConfig, {"warmup": -5}),
        (TrainConfig, {"cooldown": -1.0}),
        (TrainConfig, {"muon_lr": float("nan")}),
        (TrainConfig, {"ema": 2.0}),
        (DynamicsConfig, {"heads": 0}),
        (DynamicsConfig, {"time_every": 0}),
        (DynamicsConfig, {"context": 0}),
        (ObjectiveConfig, {"lone": 5.0}),
        (ObjectiveConfig, {"reward_weight": -1.0}),
    ],
    ids=lambda w: next(iter(w)) if isinstance(w, dict) else w.__name__,
)
def test_numbers_that_mean_nothing_are_refused(config, wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`.*got"):
        config(**wrong)


@pytest.mark.parametrize("shape", [(3, 32, 48), (3, 48, 32)], ids=["wide", "tall"])
def test_muons_update_has_singular_values_near_one(shape):
    update = orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    values = torch.linalg.svdvals(update.float())
    assert update.shape == shape and values.min() > 0.5 and values.max() < 1.3


def test_muon_steps_matrices_of_one_shape_together_as_it_would_each_alone():
    g = torch.Generator().manual_seed(0)
    model = nn.ModuleList(nn.Linear(32, 24) for _ in range(3))
    alone = deepcopy(model)
    grads = [torch.randn(24, 32, generator=g) for _ in range(2)]
    for layer, grad in zip(model, grads, strict=False):  # the third has none
        layer.weight.grad = grad
    MuonAdamW(model, 0.02, 0.002).step(1.0)
    for layer, grad in zip(alone, grads, strict=False):
        layer.weight.grad = grad
        MuonAdamW(layer, 0.02, 0.002).step(1.0)
    for together, one in zip(model, alone, strict=True):
        torch.testing.assert_close(together.weight, one.weight, atol=2e-4, rtol=0)


def test_convolutions_and_matrices_take_muon_and_the_rest_adam():
    layers = {
        "embed": nn.Conv2d(32, 32, 3),
        "block": nn.Linear(32, 32),
        "place": nn.Linear(32, 32),
        "agent": nn.Linear(32, 32),
    }
    optimizer = MuonAdamW(nn.ModuleDict(layers), 0.02, 0.002)
    assert {id(p) for p in optimizer.matrices} == {id(layers[n].weight) for n in ("embed", "block")}


def test_a_score_that_is_no_number_counts_as_the_worst(tmp_path):
    """Nothing was ever better than one."""
    scores, seen = iter([math.nan, 1.0, 3.0, 2.0, 0.0]), []

    def evaluate(ema):
        seen.append(weights(ema).clone())
        return {"score": next(scores)}

    cfg = TrainConfig(steps=4, evaluate_minutes=1e-9, **QUIET)
    best = fit(small_model(), sample, loss, cfg, tmp_path, evaluate=evaluate)
    assert torch.equal(weights(best), seen[2])


def toy_data(episodes=4, steps=40, seed=0):
    """Record grey frames that the action makes lighter or darker."""
    rng = np.random.default_rng(seed)
    data = []
    for _ in range(episodes):
        actions = rng.uniform(-1, 1, (steps, 1)).astype(np.float32)
        grey = np.clip(128 + np.concatenate([[0], 20 * actions[:, 0].cumsum()]), 0, 255)
        frames = np.broadcast_to(grey[:, None, None, None], (steps + 1, 16, 16, 3))
        data.append(
            Episode(
                frames=frames.astype(np.uint8), actions=actions, rewards=actions[:, 0],
                terminated=np.zeros(steps, bool), truncated=np.zeros(steps, bool),
            )
        )  # fmt: skip
    info = worldsim.DatasetInfo(
        fps=10, frame_size=(16, 16), action_space=spaces.Box(-1, 1, (1,), np.float32)
    )
    return worldsim.MemoryDataset(info, data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Both stages, seconds long, on the toy data."""
    out = tmp_path_factory.mktemp("runs")
    model = worldsim.model_config("tiny")
    model.dynamics.context = 8
    quick = {"minutes": 0.0, "wandb": WandbConfig("disabled"), "model": model}
    worldsim.train_tokenizer(toy_data(), out / "tok", steps=3, **quick)
    worldsim.train_dynamics(toy_data(), out / "tok", out / "dyn", steps=6, batch_size=2, **quick)
    return out


def test_both_stages_leave_a_world_that_loads_and_rolls(trained):
    world = worldsim.load(str(trained / "dyn/world"))
    rollout = worldsim.Rollout(world, 1)
    rollout.prefill([0], world.starts.latents[:1].float(), world.starts.actions[:1].float())
    step = rollout.step(torch.zeros(1, 1))
    assert step.latents.shape == (1, 8, 4, 4)


def test_a_world_can_be_continued_and_only_one_of_its_own_shape(trained, tmp_path):
    model = worldsim.model_config("tiny")
    quick = {"minutes": 0.0, "wandb": WandbConfig("disabled"), "batch_size": 2}

    def go_on(out, init="dyn", **other):
        vars(model.dynamics).update(other)
        worldsim.train_dynamics(
            toy_data(), trained / "tok", tmp_path / out, steps=1, model=model,
            init=trained / init, **quick,
        )  # fmt: skip

    go_on("on", context=8)
    with pytest.raises(ValueError, match="remembers 8 frames, got 4; leave it out"):
        go_on("short", context=4)
    with pytest.raises(ValueError, match="`cells` must be that of `init`, 32, got 48"):
        go_on("wide", context=8, cells=48)
    with pytest.raises(ValueError, match="`chance` must be that of `init`, 32, got 0"):
        go_on("sure", context=8, cells=32, chance=0)
    assert not any((tmp_path / name).exists() for name in ("wide", "sure"))  # nothing is tokenised
    vars(model.dynamics).update(chance=16)
    worldsim.train_dynamics(
        toy_data(), trained / "tok", tmp_path / "few", steps=1, model=model, **quick
    )
    go_on("fewer", tmp_path / "few", chance=32)
    assert worldsim.load(tmp_path / "fewer").dynamics.cfg.chance == 16
    with pytest.raises(ValueError, match="same architecture.* or fewer"):
        go_on("off", "dyn/world", cells=32, depth=2)


def test_more_budget_does_not_unsettle_what_has_settled(trained, tmp_path):
    """It fell back into the part in which the convolutions learn alone."""
    quick = {"minutes": 0.0, "wandb": WandbConfig("disabled"), "batch_size": 2, "warmup": 0}
    model = worldsim.model_config("tiny")
    model.dynamics.context = 8
    kept, objective = [], ObjectiveConfig(drawn_from=1.0)
    for steps in (5, 25):
        args = toy_data(), trained / "tok", tmp_path
        worldsim.train_dynamics(*args, steps=steps, model=model, objective=objective, **quick)
        weights, meta = read_tensors(tmp_path / "checkpoint.safetensors")
        kept.append(weights["model.painters.0.head.weight"])
    assert json.loads(meta["facts"])["step"] == 25
    assert (kept[0] == kept[1]).all()


def test_more_recordings_tell_what_a_world_knows(trained, tmp_path):
    """Actions and captions that `more` alone has were learned, and not heard in play."""
    plain, quick = toy_data(), {"minutes": 0.0, "wandb": WandbConfig("disabled"), "batch_size": 2}
    silent = [replace(e, action_known=np.zeros(len(e), bool)) for e in plain.episodes]
    mute = worldsim.MemoryDataset(plain.info, silent)
    model = worldsim.model_config("tiny")
    model.dynamics.context = 8
    labelled = [
        worldsim.train_dynamics(
            mute, trained / "tok", tmp_path / str(len(more)), more=more, model=model, steps=1,
            **quick,
        ).cfg.labelled
        for more in ([], [plain])
    ]  # fmt: skip
    assert labelled == [False, True]


def test_a_world_goes_on_in_its_own_architecture_without_naming_it(trained, tmp_path):
    quick = {"minutes": 0.0, "wandb": WandbConfig("disabled")}
    init = trained / "dyn/world"
    tokenizer = worldsim.train_tokenizer(toy_data(), tmp_path / "tok", steps=1, init=init, **quick)
    world = worldsim.train_dynamics(
        toy_data(), tokenizer, tmp_path / "dyn", steps=1, batch_size=2, init=init, **quick
    )
    was = worldsim.load(init)
    assert (world.tokenizer.cfg, world.dynamics.cfg) == (was.tokenizer.cfg, was.dynamics.cfg)


def test_a_world_keeps_what_it_and_the_one_before_it_have_learned_from(trained, tmp_path):
    was = worldsim.load(trained / "dyn/world").learned_from
    learned, held = hold_out(toy_data(), None)
    assert was == set(tags(learned)) and not was & set(tags(held))
    world = worldsim.train_dynamics(
        toy_data(seed=9), trained / "tok", tmp_path, init=trained / "dyn/world", steps=1,
        minutes=0.0, batch_size=2, wandb=WandbConfig("disabled"),
    )  # fmt: skip
    other, _ = hold_out(toy_data(seed=9), None)
    assert world.learned_from == worldsim.load(tmp_path).learned_from == was | set(tags(other))
    assert not was & set(tags(other))


@pytest.mark.parametrize("settled, drawn_from", [(True, 1.0), (False, 1.0), (True, 0.0)])
def test_what_convolutions_have_learned_alone_stays_until_frames_are_drawn(
    trained, tmp_path, settled, drawn_from
):
    was = worldsim.load(trained / "dyn/world", dtype=torch.float32).dynamics
    world = worldsim.train_dynamics(
        toy_data(), trained / "tok", tmp_path, init=trained / "dyn/world", steps=3, minutes=0.0,
        batch_size=2, warmup=0, wandb=WandbConfig("disabled"),
        objective=ObjectiveConfig(local_until=0, settled=settled, drawn_from=drawn_from),
    )  # fmt: skip
    same = {
        name: p.float().equal(was.get_parameter(name).bfloat16().float())
        for name, p in world.dynamics.bfloat16().named_parameters()
    }
    stays = settled and drawn_from == 1
    assert all(same[f"{name}.weight"] for name in ("stem.0.first", "near.condition")) is stays
    assert same["painters.0.tail.0.first.weight"] is stays
    assert not (same["painters.1.tail.0.first.weight"] or same["far.condition.weight"])


def test_where_one_episode_ends_and_another_begins_nothing_moves():
    """Two scenes that stand still were all motion at their border."""
    frames = torch.zeros(6, 4, 4, 3, dtype=torch.uint8)
    frames[3:] = 200
    frames[4, 0, 0] = 0
    index = torch.tensor([2, 3, 4])
    weight = pixel_weight(frames, index, torch.tensor([0, 3, 6]), 0.5)
    assert (weight[0] == weight.min()).all() and weight.mean() == pytest.approx(1)
    assert weight[1, 0, 0] == weight[2, 0, 0] == weight.max() > 10 * weight.min()


def test_a_training_goes_from_its_first_part_to_its_second(trained, tmp_path):
    """The mover learns in the first, and again where frames are drawn; the other begins as it."""
    kept, checkpoint = [], tmp_path / "checkpoint.safetensors"

    def watch(_):  # before the checkpoint of this step is written
        if checkpoint.exists():
            kept.append(read_tensors(checkpoint)[0])

    model = worldsim.model_config("tiny")
    model.dynamics.context = 8
    worldsim.train_dynamics(
        toy_data(), trained / "tok", tmp_path, model=model, steps=6, minutes=0.0, batch_size=2,
        warmup=0, save_minutes=0.0, wandb=WandbConfig("disabled"), progress=watch,
        objective=ObjectiveConfig(local_until=0.5),
    )  # fmt: skip
    kept.append(read_tensors(checkpoint)[0])
    mover, other = ([state[f"model.painters.{i}.head.weight"] for state in kept] for i in (0, 1))
    steps = [not a.equal(b) for a, b in pairwise(mover)]
    assert steps == [True, True, False, False, True]  # the sixth draws
    assert [bool(weight.any()) for weight in other] == [False] * 3 + [True] * 3
    assert other[3].equal(mover[2]) and not other[4].equal(mover[2])
    assert kept[3]["ema.painters.1.head.weight"].equal(kept[3]["ema.painters.0.head.weight"])


def test_a_world_of_one_painter_goes_on_as_a_whole(tmp_path):
    """What convolutions learn alone would cost it all else, so the transformer learns at once."""
    old = Path(__file__).parent / "data/world-v5"
    env = gymnasium.make("worldsim/Drive-v0", frame_size=(32, 32), render_mode="rgb_array")
    data = worldsim.record(env, episodes=2, max_steps=20, progress=False)
    world = worldsim.train_dynamics(
        data, old, tmp_path, init=old, steps=2, minutes=0.0, batch_size=2, warmup=0,
        wandb=WandbConfig("disabled"),
    )  # fmt: skip
    was, now = worldsim.load(old).dynamics, world.dynamics
    assert not now.cfg.apart and now.cfg.chance > was.cfg.chance == 0
    assert not now.gather.weight.equal(was.gather.weight)


def test_frames_that_patches_do_not_fill_are_refused_before_work_starts(trained, tmp_path):
    """The convolutions alone take them, and for the first part of a training they are alone."""
    model = worldsim.model_config("tiny")
    model.dynamics.patch = 8
    with pytest.raises(ValueError, match="multiples of 32, got 16x16"):
        worldsim.train_dynamics(toy_data(), trained / "tok", tmp_path / "x", model=model)
    odd = toy_data()
    odd = worldsim.MemoryDataset(
        replace(odd.info, frame_size=(12, 18)),
        [replace(e, frames=e.frames.repeat(2, 1)[:, :12].repeat(2, 2)[:, :, :18]) for e in odd],
    )
    dynamics = partial(worldsim.train_dynamics, tokenizer=trained / "tok")
    for train in (worldsim.train_tokenizer, dynamics):
        with pytest.raises(ValueError, match="got 18x12"):
            train(toy_data(), out=tmp_path / "x", model="tiny", test=odd)
    assert not (tmp_path / "x").exists()


def test_captions_without_an_encoder_are_refused_before_work_starts(trained, tmp_path, monkeypatch):
    def missing():
        raise FileNotFoundError("run `make text`")

    monkeypatch.setattr("worldsim.text.find_weights", missing)
    data = toy_data()
    told = [replace(e, captions=("a road",)) for e in data]
    told = worldsim.MemoryDataset(data.info, told)
    with pytest.raises(FileNotFoundError, match="make text"):
        worldsim.train_dynamics(told, trained / "tok", tmp_path / "x", model="tiny")
    assert not (tmp_path / "x").exists()


def test_frames_that_the_dynamics_will_not_take_are_refused_before_the_tokenizer(tmp_path):
    rng, frames = np.random.default_rng(0), (4, 24, 16, 3)
    episodes = [Episode(rng.integers(0, 256, frames, np.uint8), np.zeros((3, 1), np.float32))] * 2
    info = replace(toy_data().info, frame_size=(24, 16))
    with pytest.raises(ValueError, match="multiples of 16, got 16x24"):
        worldsim.train_tokenizer(
            worldsim.MemoryDataset(info, episodes), tmp_path, model="small", steps=1, minutes=0
        )


def test_a_world_that_grows_deeper_imagines_at_first_what_it_did(trained, tmp_path):
    small = worldsim.load(trained / "dyn/world", dtype=torch.float32)
    cfg = small.dynamics.cfg
    more = replace(cfg, stem=cfg.stem + 1, depth=cfg.depth + 2, tail=cfg.tail + 2)
    deep = copy(small)
    deep.dynamics = Dynamics(more)
    start_from(deep.dynamics, dynamics_weights(trained / "dyn/world"), "")
    given, actions = np.zeros((1, 4, 16, 16, 3), np.uint8), np.ones((1, 7, 1), np.float32)
    one, other = (dream(world, given, actions, 4).latents for world in (small, deep))
    torch.testing.assert_close(one, other)


def test_a_run_goes_on_only_with_what_it_was_begun_with(trained, tmp_path):
    """Latents of other recordings were once taken for those of this one."""
    model = worldsim.model_config("tiny")
    model.dynamics.context = 8
    quick = {"minutes": 0.0, "wandb": WandbConfig("disabled"), "model": model, "batch_size": 2}
    worldsim.train_dynamics(toy_data(), trained / "tok", tmp_path, steps=1, **quick)
    with pytest.raises(ValueError, match="begun with, got 3 epis.*4 epis.*another `out`"):
        worldsim.train_dynamics(toy_data(5), trained / "tok", tmp_path, steps=2, **quick)
    worldsim.train_tokenizer(toy_data(), tmp_path / "tok", steps=1, **quick)
    with pytest.raises(ValueError, match="begun with, got 3 epis.*4 epis.*another `out`"):
        worldsim.train_tokenizer(toy_data(5), tmp_path / "tok", steps=2, **quick)
    info, episodes = toy_data().info, list(toy_data())
    first = replace(episodes[0], rewards=-episodes[0].rewards)
    other = worldsim.MemoryDataset(info, [first, *episodes[1:]])
    with pytest.raises(ValueError, match="recordings and the tokenizer it was begun with"):
        worldsim.train_dynamics(other, trained / "tok", tmp_path, steps=2, **quick)
    begun = {**quick, "init": trained / "dyn/world", "steps": 2}
    with pytest.raises(ValueError, match="begun with, got fresh weights.*weights .* here; choose"):
        worldsim.train_dynamics(toy_data(), trained / "tok", tmp_path, **begun)
    model.dynamics.depth = 2
    with pytest.raises(ValueError, match="architecture it was begun with.*another `out`"):
        worldsim.train_dynamics(toy_data(), trained / "tok", tmp_path, steps=2, **quick)
    model.tokenizer.width = 16
    with pytest.raises(ValueError, match="same architecture"):
        worldsim.train_tokenizer(
            toy_data(), tmp_path / "tok2", init=trained / "tok", steps=1, **quick
        )


def test_a_decoder_learns_from_what_its_world_imagines(trained, tmp_path):
    before = worldsim.load(str(trained / "dyn/world"))
    quick = {"minutes": 0.0, "wandb": WandbConfig("disabled"), "steps": 3, "batch_size": 6}
    out, call = tmp_path / "fin", (toy_data(), str(trained / "dyn/world"))
    with warnings.catch_warnings(record=True) as said:
        worldsim.train_decoder(*call, out, clips=4, **quick)
    after = worldsim.load(str(out / "world"))
    frames = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    assert torch.equal(after.encode(frames), before.encode(frames))
    decoded = [world.decode(before.starts.latents[0]) for world in (before, after)]
    kept = any("stays as it was" in str(each.message) for each in said)
    assert torch.equal(*decoded) is kept
    judged = cut_usual(hold_out(toy_data(), None)[1], 64)
    worse, better = (rollout_quality(world, judged)["score"] for world in (before, after))
    assert better >= worse - 1e-6
    dreams, _ = read_tensors(out / "dreams.safetensors")
    assert dreams["imagined"].shape == dreams["real"].shape
    assert not torch.equal(dreams["imagined"], dreams["real"])
    with pytest.raises(ValueError, match="another world, recordings or number of clips"):
        worldsim.train_decoder(*call, out, clips=5, **quick)
    before.tokenizer.decoder.load_state_dict(
        {k: v + 0.1 for k, v in before.tokenizer.decoder.state_dict().items()}
    )
    before.save(tmp_path / "other")
    with pytest.raises(ValueError, match="another world, recordings or number of clips"):
        worldsim.train_decoder(toy_data(), str(tmp_path / "other"), out, clips=4, **quick)
    with pytest.raises(ValueError, match="stage=decoder needs a world"):
        LaunchConfig(stage="decoder", data="data/drive")


def test_a_decoder_that_gains_nothing_stays_as_it_was(trained, tmp_path):
    before = worldsim.load(str(trained / "dyn/world"))
    quick = {"minutes": 0.0, "wandb": WandbConfig("disabled"), "steps": 1, "batch_size": 6}
    with pytest.warns(UserWarning, match="stays as it was"):
        after = worldsim.train_decoder(
            toy_data(),
            str(trained / "dyn/world"),
            tmp_path,
            clips=4,
            muon_lr=0.0,
            adam_lr=0.0,
            **quick,
        )
    assert torch.equal(before.decode(before.starts.latents), after.decode(after.starts.latents))


def test_half_way_between_two_decoders_lies_their_mean():
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    mixed = between(one, other, 0.5)
    assert torch.allclose(mixed.weight, (one.weight + other.weight) / 2) and mixed is not one


@pytest.mark.parametrize(
    "stage, unread",
    [
        ("decoder", {"more": ["data/wide"]}),
        ("decoder", {"tokenizer": "runs/tok"}),
        ("decoder", {"objective": ObjectiveConfig(motion=0.5)}),
        ("tokenizer", {"tokenizer": "runs/tok"}),
        ("tokenizer", {"objective": ObjectiveConfig(lone=0.0)}),
    ],
)
def test_what_a_stage_does_not_read_is_refused(stage, unread):
    LaunchConfig(stage=stage, data="d", init="drive", objective=ObjectiveConfig())
    with pytest.raises(ValueError, match=next(iter(unread))):
        LaunchConfig(stage=stage, data="data/drive", init="drive", **unread)


@pytest.mark.parametrize("value", [0.0, 5.0, 90.0, -1e6])
def test_an_action_that_never_moves_scales_to_a_number(value):
    """It was nothing divided by nothing, or ten millions."""
    data = toy_data()
    free = replace(data.info, action_space=spaces.Box(-np.inf, np.inf, (1,), np.float32))
    still = [replace(e, actions=np.full_like(e.actions, value)) for e in data.episodes]
    low, high = action_scaling(worldsim.MemoryDataset(free, still))
    scaled = 2 * (np.float32([value, 0]) - low) / (high - low) - 1
    assert np.isfinite(scaled).all() and np.abs(scaled).max() < 20


def test_recordings_to_learn_from_as_well_are_scaled_as_the_world_will_be(trained, tmp_path):
    """Where actions have no bounds, each recording had a scale of its own."""
    free = replace(toy_data().info, action_space=spaces.Box(-np.inf, np.inf, (1,), np.float32))
    once, twice = (
        worldsim.MemoryDataset(
            free, [replace(e, actions=n * e.actions) for e in toy_data().episodes]
        )
        for n in (1, 2)
    )
    model = worldsim.model_config("tiny")
    model.dynamics.context = 8
    quick = {"steps": 1, "minutes": 0.0, "batch_size": 2, "wandb": WandbConfig("disabled")}
    first = worldsim.train_dynamics(
        once, trained / "tok", tmp_path, more=[twice], model=model, **quick
    )
    own, other = (
        read_tensors(tmp_path / name)[0]["actions"].abs().max()
        for name in ("latents.safetensors", "latents-1.safetensors")
    )
    assert own <= 1.001 and other > 1.5
    on = tmp_path / "on"
    second = worldsim.train_dynamics(twice, trained / "tok", on, init=tmp_path, **quick)
    assert second.cfg.action_high == first.cfg.action_high  # what it has learned from
    assert read_tensors(on / "latents.safetensors")[0]["actions"].abs().max() == other


def test_test_data_of_another_rate_are_refused(trained, tmp_path):
    other = toy_data(2)
    other.info = worldsim.DatasetInfo(
        fps=20, frame_size=(16, 16), action_space=spaces.Box(-1, 1, (1,), np.float32)
    )
    with pytest.raises(ValueError, match="frame rate"):
        worldsim.train_tokenizer(toy_data(), tmp_path, test=other, model="tiny", steps=1)


@pytest.mark.slow
def test_it_runs_under_torchrun_and_all_processes_learn_and_stop_together(tmp_path):
    """A tokenizer's processes once learned each for itself: its loss went past the wrapper.

    Batches are of one kind everywhere, so that none waits, and hold other clips.
    """
    script = Path(__file__).with_name("torchrun_fit.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([*command, str(tmp_path)], check=True, timeout=240, env=environment)
    (*first, kinds, seen), (*second, others, unlike) = (
        torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)
    )
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert kinds == others and len(set(kinds)) > 3
    assert not torch.equal(seen, unlike)
