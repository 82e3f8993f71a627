"""How fast each part of a world is, and the whole of it, on this machine.

Every row is a median over repeated calls after a warm-up. "GFLOP" counts the arithmetic of one
call; "share" is what that comes to against the matrix multiplication rate measured here, in the
same precision on all threads: what is missing to 1 is dispatch, memory, everything that is no
matrix, and on a CPU the threads that a step of fewer than four worlds leaves alone.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from worldsim.compiling import compiled
from worldsim.devices import FEW
from worldsim.limits import check_least
from worldsim.loading import as_world, load
from worldsim.machine import about_machine, matmul_rate, median_ms, memory_mib
from worldsim.rollout import Rollout
from worldsim.world import World

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class BenchConfig:
    """What to time."""

    world: str = "drive"
    """Name of a shipped world, a folder or a Hub id."""
    batch: tuple[int, ...] = (1, 8, 32)
    """Numbers of worlds that run together."""
    sampler_steps: tuple[int, ...] = (1, 2, 4)
    """Steps per frame, K."""
    dtype: tuple[str, ...] = ()
    """Precisions of the weights, of fp32 and bf16; empty takes the world's default."""
    compile: bool = False
    """Whether to time compiled steps beside eager ones, on a CPU those of a few worlds; compiling
    takes half a minute or more."""
    long_frames: int = 2000
    """Compare frame 100 with this one; 0 leaves that out."""
    seconds: float = 0.6
    """How long to repeat each measurement."""
    device: str = ""
    """Where to run; empty chooses."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""
    progress: bool = True

    def __post_init__(self) -> None:
        self.batch, self.sampler_steps = tuple(self.batch), tuple(self.sampler_steps)
        self.dtype = tuple(self.dtype)
        for name in ("batch", "sampler_steps"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ValueError(
                    f"`{name}` must hold numbers of at least 1, got {getattr(self, name)}"
                )
        wrong = [name for name in self.dtype if name not in DTYPES]
        if wrong:
            raise ValueError(f"`dtype` must be among {', '.join(DTYPES)}, got {', '.join(wrong)}")
        check_least(self, threads=0)
        if self.long_frames and self.long_frames <= 100:
            raise ValueError(
                f"`long_frames` must be 0 or more than 100, got {self.long_frames}; try 2000"
            )


@dataclass(frozen=True)
class Timing:
    """One row of the table.

    Attributes:
        part: What was timed.
        dtype: Precision.
        batch: Worlds at once.
        steps: Sampler steps; 0 where there are none.
        ms: Median milliseconds of a call.
        gflop: Arithmetic of a call.
        share: Of the measured matrix multiplication rate.
    """

    part: str
    dtype: str
    batch: int
    steps: int
    ms: float
    gflop: float
    share: float

    @property
    def frames_per_second(self) -> float:
        """Frames of all worlds together, per second."""
        return 1e3 * self.batch / self.ms


@dataclass(frozen=True)
class Bench:
    """What a benchmark found; `str` is a table in Markdown.

    Attributes:
        about: Hardware and versions.
        rates: Matrix multiplication rate in GFLOP/s by precision.
        rows: All timings.
        long_run: Cost and memory early and late in a rollout.
    """

    about: dict[str, Any]
    rates: dict[str, float]
    rows: list[Timing]
    long_run: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        rows = [vars(row) | {"frames_per_second": row.frames_per_second} for row in self.rows]
        return {
            "about": self.about,
            "matmul_gflops": self.rates,
            "rows": rows,
            "long_run": self.long_run,
        }

    def __str__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.about.items()]
        rates = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in self.rates.items())
        lines += [f"matrix multiplication: {rates}", ""]
        lines.append(
            "| part | dtype | batch | K | ms | frames/s | GFLOP/frame | share of matmul rate |"
        )
        lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for r in self.rows:
            lines.append(
                f"| {r.part} | {r.dtype} | {r.batch} | {r.steps or ''} | {r.ms:.2f} | "
                f"{r.frames_per_second:.0f} | {r.gflop / r.batch:.3f} | {r.share:.2f} |"
            )
        if self.long_run:
            lines += ["", *(f"{name}: {value:.2f}" for name, value in self.long_run.items())]
        return "\n".join(lines)


def bench(world: str | World, cfg: BenchConfig | None = None, **overrides: Any) -> Bench:
    """Time a world's parts and its whole step.

    Args:
        world: A world, or a name, folder or Hub id. A given world is timed in its own precision.
        cfg: What to time.
        **overrides: Fields of `BenchConfig`, for short.
    """
    cfg = replace(cfg or BenchConfig(), **overrides)
    threads = torch.get_num_threads()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    try:
        there = isinstance(world, World)
        worlds = [as_world(world, cfg.device)] if there else list(_load(world, cfg))
        for k in cfg.sampler_steps:
            Rollout(worlds[0], 1, sampler_steps=k)  # refuses what this world does not know
        rates = {
            name: matmul_rate(worlds[0].device, dtype, cfg.seconds)
            for name, dtype in DTYPES.items()
        }
        rows = []
        for one in worlds:
            name = next((n for n, dtype in DTYPES.items() if dtype == one.dtype), str(one.dtype))
            jobs = list(_jobs(one, cfg))
            for part, batch, steps, call in tqdm(jobs, f"bench {name}", disable=not cfg.progress):
                ready = call()
                ms = median_ms(ready, cfg.seconds, one.device)
                gflop = float("nan") if "compiled" in part else count_gflop(ready)
                share = gflop / ms * 1e3 / rates.get(name, float("nan"))
                rows.append(Timing(part, name, batch, steps, ms, gflop, share))
        late = long_run(worlds[0], cfg.long_frames) if cfg.long_frames else {}
        return Bench(about_machine(worlds[0]), rates, rows, late)
    finally:
        torch.set_num_threads(threads)


def _load(name: str, cfg: BenchConfig) -> Iterable[World]:
    for dtype in cfg.dtype or (None,):
        yield load(name, device=cfg.device or None, dtype=DTYPES[dtype] if dtype else None)


def _jobs(world: World, cfg: BenchConfig) -> Iterable[tuple[str, int, int, Callable]]:
    """Yield (part, batch, K, function that sets up and returns the call to time)."""
    h, w = world.cfg.frame_size
    for b in cfg.batch:
        frames = torch.randint(0, 256, (b, h, w, 3), dtype=torch.uint8, device=world.device)
        yield "encode", b, 0, lambda x=frames: lambda: world.encode(x)
        latents = torch.randn(b, world.dynamics.cfg.channels, *world.latent_size((h, w)))
        latents = latents.to(world.device)
        yield "decode", b, 0, lambda z=latents: lambda: world.decode(z)
        yield "first pass", b, 0, lambda b=b: _pass(world, b, 2)
        yield "further pass", b, 0, lambda b=b: _pass(world, b, 1)
        for k in cfg.sampler_steps:
            yield "env step, latents", b, k, lambda b=b, k=k: _step(world, b, k, pixels=False)
            yield "env step, pixels", b, k, lambda b=b, k=k: _step(world, b, k, pixels=True)
            if cfg.compile and (b < FEW or world.device.type != "cpu"):
                yield (
                    "env step, compiled",
                    b,
                    k,
                    lambda b=b, k=k: _step(compiled(world), b, k, pixels=True),
                )


def _started(world: World, b: int, k: int | None) -> Rollout:
    """Return a rollout of `b` worlds whose ring is full."""
    rollout = Rollout(world, b, sampler_steps=k)
    context = world.dynamics.cfg.context
    grid = world.latent_size(world.cfg.frame_size)
    shape = b, context, world.dynamics.cfg.channels, *grid
    g = torch.Generator().manual_seed(0)
    latents = torch.randn(shape, generator=g).to(world.device)
    actions = torch.zeros(b, context, world.dynamics.cfg.action_dim, device=world.device)
    rollout.prefill(list(range(b)), latents, actions)
    return rollout


def _step(world: World, b: int, k: int, pixels: bool) -> Callable[[], Any]:
    rollout = _started(world, b, k)
    actions = torch.zeros(b, world.dynamics.cfg.action_dim, device=world.device)

    def call() -> Any:
        now = rollout.step(actions)
        return rollout.frames() if pixels else now

    return call


def _pass(world: World, b: int, t: int) -> Callable[[], Any]:
    """Return one pass over a full cache: of a draft, and with `t = 2` of the frame before it."""
    from worldsim.frames import Frames

    model, device = world.dynamics, world.device
    grid = world.latent_size(world.cfg.frame_size)
    cache = model.new_cache(b, grid)
    x = torch.randn(b, t, model.cfg.channels, *grid, device=device)
    one = torch.full((b, t), 0.9, device=device)
    level = torch.full((b, t), model.cfg.finest, device=device)
    actions = torch.zeros(b, t, model.cfg.action_dim, device=device)
    before = x[:, :, None].expand(-1, -1, model.cfg.recent, -1, -1, -1)
    taus = one[..., None].expand(-1, -1, model.cfg.recent)
    frames = Frames(x, one, level, before, taus, actions, one > 0)
    positions = 2 * model.cfg.context + torch.arange(t, device=device).expand(b, -1)
    text = model.read_prompts(None, one)
    return lambda: model.step(frames, positions, cache, text, single=True, agent=True)


@torch.inference_mode()
def count_gflop(call: Callable[[], Any]) -> float:
    """Return the arithmetic of a call, in GFLOP: matrix products, convolutions, attention."""
    from torch.utils.flop_counter import FlopCounterMode

    def attention(q, k, v, *_, **__) -> int:  # what torch forgets to count on the CPU
        return 2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3])

    def convolution(x, w, *_, out_shape, **__) -> int:
        return 2 * math.prod(out_shape) * math.prod(w[1:])

    forgotten = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    if hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        forgotten[torch.ops.mkldnn._convolution_pointwise] = convolution
    with FlopCounterMode(display=False, custom_mapping=forgotten) as counter:
        call()
    return counter.get_total_flops() / 1e9


@torch.inference_mode()
def long_run(world: World, frames: int, around: int = 40) -> dict[str, float]:
    """Compare frame 100 of a rollout with a late one: milliseconds, and memory in MiB."""
    call = _step(world, 1, world.cfg.sampler_steps, pixels=True)
    times, memory = [], {}
    for i in range(frames):
        begin = time.perf_counter()
        call().cpu()  # waits until it is there
        times.append(1e3 * (time.perf_counter() - begin))
        if i + 1 in (100, frames):
            memory[i + 1] = memory_mib()
    early, late = times[100 - around : 100], times[frames - around : frames]
    return {
        "ms at frame 100": float(np.median(early)),
        f"ms at frame {frames:,}": float(np.median(late)),
        "MiB at frame 100": memory[100],
        f"MiB at frame {frames:,}": memory[frames],
    }
