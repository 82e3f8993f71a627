"""Settings that are numbers or words, checked before work starts."""

from collections.abc import Collection, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np


def check_least(settings: Any, **least: float) -> None:
    """Refuse numbers of `settings` that lie below a limit: `check_least(cfg, episodes=1)`."""
    for name, limit in least.items():
        value = getattr(settings, name)
        if not value >= limit:  # nor is NaN
            raise ValueError(f"`{name}` must be at least {limit}, got {value}")


def check_shares(settings: Any, *names: str) -> None:
    """Refuse numbers of `settings` that are no share of a whole."""
    check_share(**{name: getattr(settings, name) for name in names})


def check_share(**shares: Any) -> None:
    """Refuse what is no share of a whole."""
    for name, share in shares.items():
        if not isinstance(share, Real) or not 0 <= share <= 1:
            raise ValueError(f"`{name}` must be a share between 0 and 1, got {share!r}")


def check_counts(least: int = 1, **counts: Any) -> None:
    """Refuse what is no whole number of at least `least`."""
    for name, count in counts.items():
        if not isinstance(count, Integral) or isinstance(count, bool):
            raise TypeError(
                f"`{name}` must be a whole number, got {type(count).__name__} {count!r}"
            )
        if count < least:
            raise ValueError(f"`{name}` must be at least {least}, got {count}")


def check_given(least: int = 1, **counts: Any) -> None:
    """Refuse the same of numbers whose default is None."""
    check_counts(least, **{name: count for name, count in counts.items() if count is not None})


def check_size(name: str, size: Any) -> None:
    """Refuse what is no `(h, w)` in pixels."""
    is_pair = isinstance(size, Sequence | np.ndarray) and len(size) == 2
    if not is_pair or not all(isinstance(side, Integral) for side in size):
        raise TypeError(
            f"`{name}` must be (h, w), two whole numbers of pixels, got {size!r}; "
            "leave it out for the usual ones"
        )
    if min(size) < 1:
        raise ValueError(f"`{name}` must be (h, w) of at least 1, got {size!r}")


def check_cells(size: Sequence[int], side: int) -> None:
    """Refuse frames of `(h, w)` pixels that squares of `side` pixels do not fill."""
    h, w = size
    if h % side or w % side or min(h, w) < side:
        raise ValueError(
            f"frame width and height must be multiples of {side}, got {w}x{h}; "
            f"resize to {max(side, w // side * side)}x{max(side, h // side * side)}"
        )


def read_size(size: str) -> tuple[int, int]:
    """Read `(h, w)` from width x height such as 96x64."""
    width, _, height = size.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"`size` must be width x height such as 96x64, got {size!r}")
    return int(height), int(width)


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Refuse what is none of a few values."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(str, choices))}, got {value!r}")
