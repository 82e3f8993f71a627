"""What figures were measured on."""

import platform
import sys
from typing import Any

import torch

from worldsim.world import World, has_bf16


def memory_mib() -> float:
    """Return how much memory this process holds now (its peak, where that cannot be told)."""
    import resource

    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def about_machine(world: World) -> dict[str, Any]:
    """Describe hardware, versions and the world that was timed."""
    device = world.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    h, w = world.cfg.frame_size
    return {
        "world": f"{world.cfg.name}, {w}x{h}, K={world.cfg.sampler_steps}",
        "parameters": sum(p.numel() for p in world.dynamics.parameters()),
        "tokenizer_parameters": sum(p.numel() for p in world.tokenizer.parameters()),
        "device": f"{device.type}: {name}, {torch.get_num_threads()} threads",
        "bf16": "in hardware" if has_bf16(device) else "emulated",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
