"""Where a world runs, and in which dtype."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

FEW = 4  # fewer worlds than that are faster on one CPU thread than on several


def has_bf16(device: torch.device) -> bool:
    """Say whether `device` multiplies matrices faster in bfloat16 than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).major >= 8 or bool(torch.version.hip)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def fast_dtype(device: str | torch.device) -> torch.dtype:
    """Return what worlds are played in on `device`: bfloat16 where it multiplies that faster."""
    return torch.bfloat16 if has_bf16(torch.device(device)) else torch.float32


def choose_device(asked: str | torch.device | None = None) -> torch.device:
    """Return the device that is asked for; else CUDA if there is some, else the CPU.

    Raises:
        ValueError: If it is not here.
    """
    if not asked:
        return _usual_device()
    if str(asked).startswith("mps"):
        raise ValueError(f"`device` must have float64, got {asked}, which has none; try cpu")
    try:
        return torch.zeros(1, device=asked).device
    except (RuntimeError, AssertionError) as error:  # whatever a build of torch lacks
        raise ValueError(
            f"`device` must be available on this machine, got {asked!r}: "
            f"{str(error).splitlines()[0]}; leave it out to have one chosen"
        ) from error


def _usual_device() -> torch.device:
    """Return CUDA where it can be used; a card may be there and too old, too new or too full."""
    if torch.cuda.is_available():
        try:
            tried = torch.ones(1, device="cuda") + 1
            tried.item()  # waits for the answer
            return tried.device
        except RuntimeError as error:
            why = str(error).splitlines()[0]
            warnings.warn(f"CUDA is here and cannot be used, so the CPU is: {why}", stacklevel=3)
    return torch.device("cpu")


@contextmanager
def few_threads(rows: int, device: torch.device) -> Iterator[None]:
    """Let one CPU thread do what is too small for more: one world alone is faster by half."""
    before = torch.get_num_threads()
    few = device.type == "cpu" and rows < FEW and before > 1
    if few:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if few:
            torch.set_num_threads(before)
