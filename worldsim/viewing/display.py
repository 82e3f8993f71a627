"""The window on the desktop: its size, which follows the number of panes, and full screen."""

from pathlib import Path

import pygame

from worldsim.files import claim_path
from worldsim.viewing.brush import GROUND
from worldsim.viewing.film import grid

LOADING = (704, 704)  # pixels, until the first frame tells its shape
SHARE = 0.92  # of the desktop, that a window may take


class Display:
    """Keep a pygame window in shape.

    Args:
        title: Of the window.
        full_screen: Whether to start in full screen.
    """

    def __init__(self, title: str, full_screen: bool = False) -> None:
        self.title, self.full_screen = title, full_screen
        self.panes = 1
        self._pane = self._size = LOADING  # of one pane, and of the window as we made it

    def open(self, size: tuple[int, int] = LOADING) -> None:
        """Open the window, or give it another size."""
        pygame.display.init()
        if self.full_screen:
            pygame.display.set_mode((0, 0), pygame.FULLSCREEN)
        else:
            self._size = size
            pygame.display.set_mode(size, pygame.RESIZABLE)
        pygame.display.set_caption(f"worldsim: {self.title}")
        pygame.display.get_surface().fill(GROUND)

    def fit(self, frame_size: tuple[int, int], scale: float | None) -> None:
        """Give the window the shape of one frame.

        Args:
            frame_size: `(h, w)` of a frame.
            scale: Window pixels to a frame pixel; None makes the longer side some 700.
        """
        h, w = frame_size
        scale = scale or max(LOADING) / max(h, w)
        self._pane, self.panes = (round(scale * w), round(scale * h)), 1
        self._size = self._pane  # to come back to from full screen
        if not self.full_screen:
            self.open(self._pane)

    def make_room(self, panes: int) -> None:
        """Let the window grow or shrink with the number of panes, as far as the desktop goes."""
        if panes == self.panes:
            return
        before, self.panes = self.panes, panes
        if self.full_screen:
            return
        size = pygame.display.get_window_size()
        if size != self._size:  # a person made it another size
            self._pane = tuple(n // parts for n, parts in zip(size, grid(before), strict=True))
        wanted = [n * parts for n, parts in zip(self._pane, grid(panes), strict=True)]
        desktop = pygame.display.get_desktop_sizes()[0]
        shares = [SHARE * most / side for most, side in zip(desktop, wanted, strict=True)]
        scale = min(1.0, *shares)
        self.open((round(scale * wanted[0]), round(scale * wanted[1])))

    def toggle_full_screen(self) -> None:
        """Go to full screen, or back to the window as it was."""
        if not self.full_screen:
            self._size = pygame.display.get_window_size()
        self.full_screen = not self.full_screen
        self.open(self._size)

    def save(self, path: Path) -> Path:
        """Save what the window shows; return the file, whose name has a number if one is there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path = claim_path(path)
        try:
            pygame.image.save(pygame.display.get_surface(), path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path
