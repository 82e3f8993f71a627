"""Timings of a tiny world: that every part is there and that the sums are right."""

import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from worldsim.benchmark import BenchConfig, Timing, bench, count_gflop
from worldsim.cli import main
from worldsim.machine import about_machine, matmul_rate, median_ms

QUICK = {"seconds": 0.0, "progress": False}
PARTS = ("encode", "decode", "first pass", "further pass")
WHOLES = ("env step, latents", "env step, pixels")


@pytest.fixture(scope="module")
def found(tiny_world):
    """One benchmark of 1 and 3 worlds, with one and two passes."""
    return bench(tiny_world, batch=(1, 3), sampler_steps=(1, 2), long_frames=110, **QUICK)


def test_bf16_is_said_of_the_device_that_was_timed(tiny_world, monkeypatch):
    """Of a GPU it was said what the CPU beside it can do."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    card = SimpleNamespace(major=8)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    parts = {name: getattr(tiny_world, name) for name in ("cfg", "dynamics", "tokenizer")}
    about = about_machine(SimpleNamespace(device=torch.device("cuda"), **parts))
    assert about["device"].startswith("cuda: a GPU") and about["bf16"] == "in hardware"


def rows(found, part, batch):
    return [row for row in found.rows if (row.part, row.batch) == (part, batch)]


def test_every_part_and_the_whole_are_timed_at_every_batch(found):
    for batch in (1, 3):
        for part in PARTS:
            assert [row.steps for row in rows(found, part, batch)] == [0]
        for whole in WHOLES:
            assert [row.steps for row in rows(found, whole, batch)] == [1, 2]
    assert len(found.rows) == 2 * (len(PARTS) + 2 * len(WHOLES))
    assert all(row.ms > 0 and row.dtype == "fp32" for row in found.rows)


def test_the_arithmetic_of_the_whole_is_that_of_its_parts(found):
    """A pass that also commits the frame before, K - 1 more, and a picture if that is wanted."""
    for batch in (1, 3):
        decode, first, further = (rows(found, part, batch)[0].gflop for part in PARTS[1:])
        for k, latents, pixels in zip(
            (1, 2), *(rows(found, w, batch) for w in WHOLES), strict=True
        ):
            assert latents.gflop == pytest.approx(first + (k - 1) * further, rel=1e-2)
            assert pixels.gflop == pytest.approx(latents.gflop + decode, rel=1e-2)


def test_arithmetic_grows_with_the_batch(found):
    for part in PARTS:
        one, three = (rows(found, part, batch)[0].gflop for batch in (1, 3))
        assert three == pytest.approx(3 * one, rel=0.01)


def test_attention_counts_as_arithmetic():
    """Two products of 8 x 32 by 16 for each of 2 x 4 heads; torch alone counts none on the CPU."""
    q, k = torch.randn(2, 4, 8, 16), torch.randn(2, 2, 32, 16)

    def attend():
        return F.scaled_dot_product_attention(q, k, k, enable_gqa=True)

    assert count_gflop(attend) == pytest.approx(2 * 2 * (8 * 32 * 16) * 2 * 4 / 1e9)


def test_frames_per_second_count_all_worlds():
    row = Timing("env step", "fp32", batch=8, steps=1, ms=40.0, gflop=1.0, share=0.1)
    assert row.frames_per_second == 200


def test_share_is_of_the_rate_measured_here(found):
    for row in found.rows:
        assert row.share == pytest.approx(row.gflop / (row.ms / 1e3) / found.rates["fp32"])


def test_the_table_has_every_row_with_hardware_and_versions_above(found):
    head, table = str(found).split("\n\n")[:2]
    lines = table.splitlines()
    assert len(lines) == 2 + len(found.rows)
    assert {line.count("|") for line in lines} == {9}
    for part in (*PARTS, *WHOLES):
        assert any(line.startswith(f"| {part} |") for line in lines)
    for word in (
        "world: tiny",
        "device: cpu: ",
        " threads",
        f"torch {torch.__version__}",
        "Python",
    ):
        assert word in head
    assert "fp32" in head and "bf16" in head and "GFLOP/s" in head


def test_everything_is_there_as_json(found):
    data = json.loads(json.dumps(found.to_json()))
    assert set(data) == {"about", "matmul_gflops", "rows", "long_run"}
    assert len(data["rows"]) == len(found.rows)
    assert data["rows"][0]["frames_per_second"] == pytest.approx(found.rows[0].frames_per_second)


def test_a_late_frame_is_compared_with_an_early_one(found):
    names = {"ms at frame 100", "ms at frame 110", "MiB at frame 100", "MiB at frame 110"}
    assert set(found.long_run) == names and min(found.long_run.values()) > 0
    grown = found.long_run["MiB at frame 110"] - found.long_run["MiB at frame 100"]
    assert grown < 50


def test_the_long_run_can_be_left_out(tiny_world):
    found = bench(tiny_world, batch=(1,), sampler_steps=(1,), long_frames=0, **QUICK)
    assert found.long_run == {} and str(found).splitlines()[-1].startswith("| env step")


def test_a_world_of_a_folder_is_timed_in_the_precisions_asked_for(tiny_world_path):
    found = bench(
        tiny_world_path,
        batch=(1,),
        sampler_steps=(1,),
        dtype=("fp32", "bf16"),
        long_frames=0,
        **QUICK,
    )
    assert [row.dtype for row in found.rows] == ["fp32"] * 6 + ["bf16"] * 6


def test_threads_are_set_and_given_back(tiny_world, monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    bench(tiny_world, batch=(1,), sampler_steps=(1,), threads=3, long_frames=0, **QUICK)
    assert (calls[0], calls[-1]) == (3, torch.get_num_threads())


def test_the_world_is_left_as_it_was(tiny_world):
    before = {name: value.clone() for name, value in tiny_world.dynamics.state_dict().items()}
    bench(tiny_world, batch=(1,), sampler_steps=(1,), long_frames=0, **QUICK)
    assert all(torch.equal(v, before[k]) for k, v in tiny_world.dynamics.state_dict().items())


@pytest.mark.slow
def test_compiled_steps_stand_beside_eager_ones(tiny_world):
    found = bench(tiny_world, batch=(1,), sampler_steps=(1,), compile=True, long_frames=0, **QUICK)
    assert [row.part for row in found.rows][-1] == "env step, compiled"
    assert "step" not in vars(tiny_world.dynamics)


def test_a_duration_is_a_median_after_a_warm_up():
    calls = []
    ms = median_ms(lambda: calls.append(1), 0.0, torch.device("cpu"))
    assert len(calls) == 3 + 5 and 0 <= ms < 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_matrix_rate_is_one_that_machines_have(dtype):
    assert 0.1 < matmul_rate(torch.device("cpu"), dtype, 0.0) < 1e5


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"batch": ()}, "`batch` must hold numbers of at least 1, got"),
        ({"batch": (1, 0)}, "`batch` must hold numbers of at least 1"),
        ({"sampler_steps": (0,)}, "`sampler_steps` must hold numbers of at least 1"),
        ({"dtype": ("fp16",)}, "`dtype` must be among fp32, bf16, got fp16"),
        ({"threads": -1}, "`threads` must be at least 0, got -1"),
        ({"long_frames": 50}, "`long_frames` must be 0 or more than 100, got 50"),
        ({"sampler_steps": (1, 3)}, "`sampler_steps` must be a power of two up to 16, got 3"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_timed(
    tiny_world, monkeypatch, wrong, message
):
    def refuse(*args):
        raise AssertionError("work began")

    monkeypatch.setattr("worldsim.benchmark.median_ms", refuse)
    with pytest.raises(ValueError, match=message):
        bench(tiny_world, **QUICK | wrong)


@pytest.mark.parametrize(
    "words, status, message",
    [
        (["bench", "wrld=drive"], 2, "wrld"),
        (["bench", "batch=[1,x]"], 2, "batch"),
        (["bench", "dtype=[fp16]"], 2, "`dtype` must be among fp32, bf16, got fp16"),
        (["bench", "seconds=fast"], 2, "seconds"),
        (["bench", "world=no/such/world"], 1, "`world` must be a shipped world"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(capsys, words, status, message):
    assert main(words) == status
    said = capsys.readouterr()
    assert message in said.err and len(said.err.splitlines()) == 1 and not said.out


def test_the_command_prints_the_table(capsys, tiny_world_path):
    words = ["batch=[1]", "sampler_steps=[1]", "seconds=0", "long_frames=0", "progress=false"]
    assert main(["bench", f"world={tiny_world_path}", *words]) == 0
    printed = capsys.readouterr().out
    assert "| env step, pixels |" in printed and "versions: Python" in printed


def test_lists_become_tuples():
    cfg = BenchConfig(batch=[1, 2], sampler_steps=[4], dtype=["bf16"])
    assert (cfg.batch, cfg.sampler_steps, cfg.dtype) == ((1, 2), (4,), ("bf16",))
