"""Settings that are numbers, checked before work starts."""

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
