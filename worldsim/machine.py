"""What figures were measured on; torch is imported where it is needed, for it may be broken."""

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any


def memory_mib() -> float:
    """Return how much memory this process holds now (its peak, where that cannot be told)."""
    import resource

    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def cores() -> int:
    """Return on how many cores this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor's model."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cpp_compiler() -> str | None:
    """Return where the C++ compiler is that makes machine code for a CPU, if there is one."""
    return next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


def about_machine(world) -> dict[str, Any]:
    """Describe hardware, versions and the `World` that was timed."""
    import torch

    from worldsim.devices import has_bf16

    device = world.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    h, w = world.cfg.frame_size
    return {
        "world": f"{world.cfg.name}, {w}x{h}, K={world.cfg.sampler_steps}",
        "parameters": sum(p.numel() for p in world.dynamics.parameters()),
        "tokenizer_parameters": sum(p.numel() for p in world.tokenizer.parameters()),
        "device": f"{device.type}: {name}, {torch.get_num_threads()} threads",
        "bf16": "in hardware" if has_bf16(device) else "emulated",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
    }


def median_ms(call: Callable[[], Any], seconds: float, device) -> float:
    """Return the median milliseconds of a call on a `torch.device`, after three unmeasured ones."""
    import torch

    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    times, begin = [], time.perf_counter()
    with torch.inference_mode():
        for _ in range(3):
            call()
        wait()
        while len(times) < 5 or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            call()
            wait()
            times.append(time.perf_counter() - start)
    return 1e3 * median(times)


def matmul_rate(device, dtype, seconds: float = 0.4) -> float:
    """Return how many GFLOP/s a `torch.device` reaches on square matrices of a `torch.dtype`."""
    import torch

    n = 1024 if device.type == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / median_ms(lambda: a @ b, seconds, device) / 1e6
