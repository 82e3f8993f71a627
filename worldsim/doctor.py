"""Look at this machine: what is there, what is missing, and what to do about it.

Each check yields findings and imports what it looks at, so that a broken package is a line of the
table and not the end of it.
"""

import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import worldsim
from worldsim.limits import check_least
from worldsim.machine import cores, cpp_compiler, cpu_name, matmul_rate

PROJECT = Path(__file__).parent.parent / "pyproject.toml"  # there in a checkout
NATIVE = {  # what may be installed and still not load
    "torch": "torch",
    "gymnasium": "Box2D",
    "pygame-ce": "pygame",
    "av": "av",
    "opencv-python-headless": "cv2",
}


@dataclass
class DoctorConfig:
    """How closely to look."""

    measure: bool = True
    """Whether to time matrix products, for about a second."""
    disk: float = 1.0
    """Free disk space to ask for, in GB."""

    def __post_init__(self) -> None:
        check_least(self, disk=0)


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        topic: What was looked at.
        state: What was found.
        advice: What to do about it; empty if nothing is wrong.
        needed: Whether nothing can be played before that is done.
    """

    topic: str
    state: str
    advice: str = ""
    needed: bool = False

    @property
    def is_fault(self) -> bool:
        """Whether something needed is missing."""
        return self.needed and bool(self.advice)


def report(cfg: DoctorConfig) -> int:
    """Print what this machine has and lacks.

    Returns:
        Exit status: 0 if a world can be played here, 1 if something needed is missing.
    """
    findings = [finding for check in CHECKS for finding in check(cfg)]
    wide = max(len(finding.topic) for finding in findings) + 2
    for finding in findings:
        mark = "!" if finding.is_fault else "-" if finding.advice else " "
        print(f"{mark} {finding.topic:<{wide}}{finding.state}")
        if finding.advice:
            print(f"  {'':<{wide}}-> {finding.advice}")
    faults = [finding.topic for finding in findings if finding.is_fault]
    print(f"\nnot playable, missing: {', '.join(faults)}" if faults else "\nplayable")
    return 1 if faults else 0


def check_packages(cfg: DoctorConfig) -> Iterator[Finding]:
    """Compare what is installed with what worldsim requires."""
    from packaging.requirements import Requirement

    advice = "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer"
    yield Finding("python", platform.python_version(), advice, needed=True)
    yield Finding("worldsim", f"{worldsim.__version__}, {Path(__file__).parent}")
    for line, extra in _requirements():
        wanted = Requirement(line)
        found = _version(wanted.name)
        state, advice = found or "not installed", ""
        if found is None or not wanted.specifier.contains(found, prereleases=True):
            state += f"; {extra or 'worldsim'} wants {line}"
            alone = "--no-deps " if wanted.name == "vizdoom" else ""  # it asks for pygame
            advice = f"pip install {alone}'{line}'"
        elif error := _import_error(NATIVE.get(wanted.name, "")):
            state += f", but {error}"
            advice = f"pip install --force-reinstall '{line}'"
        yield Finding(wanted.name, state, advice, needed=not extra)
    if _version("pygame") and _version("pygame-ce"):
        state = "installed beside pygame-ce: they overwrite each other"
        advice = "pip uninstall -y pygame pygame-ce && pip install pygame-ce"
        yield Finding("pygame", state, advice, needed=True)


def _requirements() -> Iterator[tuple[str, str]]:
    """Yield what worldsim requires, each with the extra that asks for it, if any."""
    from packaging.requirements import Requirement

    if PROJECT.exists():
        project = tomllib.loads(PROJECT.read_text())["project"]
        yield from ((line, "") for line in project["dependencies"])
        for extra, lines in project["optional-dependencies"].items():
            yield from ((line, extra) for line in lines)
        return
    for line in requires("worldsim-sdk") or []:
        marker = str(Requirement(line).marker or "")
        yield line.partition(";")[0].strip(), marker.partition("extra == ")[2].strip("\"'")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _import_error(module: str) -> str:
    """Say in one line why a module cannot be imported; nothing if it can, or if there is none."""
    try:
        module and import_module(module)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def check_devices(cfg: DoctorConfig) -> Iterator[Finding]:
    """Describe processor, memory and accelerators, and how fast they multiply."""
    yield Finding("cpu", f"{cpu_name()}, {cores()} cores")
    if hasattr(os, "sysconf"):
        ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        advice = "train with a smaller batch_size" if ram < 4 else ""
        yield Finding("memory", f"{ram:.1f} GiB", advice)
    try:
        import torch
    except Exception:  # `check_packages` has said so
        return
    devices = [torch.device("cpu")]
    devices += [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if len(devices) == 1:
        advice = "install a CUDA build of torch" if shutil.which("nvidia-smi") else ""
        yield Finding("cuda", "none, worlds run on the CPU", advice)
    for device in devices:
        try:
            yield from _check_device(device, cfg.measure)
        except RuntimeError as error:  # too old, too new or too full
            why = str(error).splitlines()[0]
            yield Finding(str(device), f"cannot be used: {why}", "use device=cpu, or mend it")
    found = cpp_compiler()
    advice = "" if found else "long trainings are slower without: install g++ or clang"
    yield Finding("compiler", found or "none", advice)


def _check_device(device: Any, measure: bool) -> Iterator[Finding]:
    import torch

    from worldsim.devices import has_bf16

    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        yield Finding(str(device), f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    state = "fast, worlds run in it" if has_bf16(device) else "slow, worlds run in fp32"
    if measure:
        rates = [matmul_rate(device, dtype) for dtype in (torch.bfloat16, torch.float32)]
        state += f"; {rates[0]:,.0f} GFLOP/s, fp32 {rates[1]:,.0f}"
        state += f" (threads: {torch.get_num_threads()})" * (device.type == "cpu")
    yield Finding(f"bf16 on {device}", state)


def check_worlds(cfg: DoctorConfig) -> Iterator[Finding]:
    """Look for shipped worlds and for the weights that read prompts."""
    try:
        from worldsim.loading import list_worlds
        from worldsim.text import find_weights
    except Exception:  # `check_packages` has said so
        return
    worlds = list_worlds()
    advice = "" if worlds else "install worldsim again, or train one; play env=<id> needs none"
    yield Finding("worlds", ", ".join(worlds) or "none", advice, needed=True)
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"  # looking must not download
    try:
        yield Finding("text weights", str(find_weights()))
    except (FileNotFoundError, ValueError) as error:
        yield Finding("text weights", "none, new prompts cannot be read", str(error))
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def check_surroundings(cfg: DoctorConfig) -> Iterator[Finding]:
    """Look at display and disk."""
    try:
        import pygame

        from worldsim.viewer import has_display

        seen = has_display()
        state = f"yes, {pygame.display.get_driver()}" if seen else "none"
        pygame.display.quit()
    except Exception:  # `check_packages` has said so
        pass
    else:
        advice = "" if seen else "worldsim play makes a film instead; for a window, set DISPLAY"
        yield Finding("display", state, advice)
    free = shutil.disk_usage(".").free / 1e9
    advice = f"make room, {cfg.disk:g} GB or more: films and runs are written here"
    advice = "" if free >= cfg.disk else advice
    yield Finding("disk", f"{free:,.1f} GB free in {Path.cwd()}", advice)


CHECKS = (check_packages, check_devices, check_worlds, check_surroundings)
