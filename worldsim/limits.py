"""Settings that are numbers or words, checked before work starts."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any


def check_least(settings: Any, **least: float) -> None:
    """Refuse numbers of `settings` that lie below a limit: `check_least(cfg, episodes=1)`."""
    for name, limit in least.items():
        value = getattr(settings, name)
        if not value >= limit:  # nor is NaN
            raise ValueError(f"`{name}` must be at least {limit}, got {value}")


def check_shares(settings: Any, *names: str) -> None:
    """Refuse numbers of `settings` that are no share of a whole."""
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= 1:
            raise ValueError(f"`{name}` is a share, it must lie within 0 and 1, got {value}")


def check_counts(least: int = 1, **counts: Any) -> None:
    """Refuse what is no whole number of at least `least`; None stands for a default."""
    for name, count in counts.items():
        if count is not None and (not isinstance(count, Integral) or isinstance(count, bool)):
            raise TypeError(
                f"`{name}` must be a whole number, got {type(count).__name__} {count!r}"
            )
        if count is not None and count < least:
            raise ValueError(f"`{name}` must be at least {least}, got {count}")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Refuse what is none of a few values."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(str, choices))}, got {value!r}")
