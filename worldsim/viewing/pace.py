"""How evenly frames reach the screen, and how long a key takes to get there."""

from collections import deque
from time import perf_counter

import numpy as np

from worldsim.viewing.scene import View


class Pace:
    """Watch views reach the screen."""

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque(maxlen=30)
        self.latency_ms: float | None = None
        """From the last key to the first frame that answered to it."""

    def arrived(self, view: View) -> None:
        """Note that a view is on the screen now."""
        now = perf_counter()
        self._arrivals.append(now)
        if view.pressed is not None:
            self.latency_ms = 1000 * (now - view.pressed)

    def pause(self) -> None:
        """Forget what was before time stood still."""
        self._arrivals.clear()

    @property
    def _gaps(self) -> np.ndarray:
        return np.diff(self._arrivals) if len(self._arrivals) > 2 else np.zeros(1)

    @property
    def fps(self) -> float:
        """Frames per second over the last few seconds."""
        return float(1 / self._gaps.mean()) if self._gaps.any() else 0.0

    @property
    def jitter_ms(self) -> float:
        """Spread of the time from one frame to the next."""
        return float(1000 * self._gaps.std())
