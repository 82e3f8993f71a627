"""The window on the desktop: its size, which follows the number of panes, and full screen."""

from pathlib import Path

import pygame

from worldsim.files import claim_path
from worldsim.viewing.brush import GROUND
from worldsim.viewing.film import grid
from worldsim.viewing.hud import FOOT, unit_in

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
        self.foot = 0  # pixels below the panes
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

    def fit(self, frame_size: tuple[int, int], scale: float | None, foot: bool = False) -> None:
        """Give the window the shape of one frame, as far as the desktop goes.

        Args:
            frame_size: `(h, w)` of a frame.
            scale: Window pixels to a frame pixel; None makes the longer side some 700.
            foot: Whether to leave room for the lower panels of the HUD below it.
        """
        h, w = frame_size
        most_wide, most_high = (SHARE * n for n in pygame.display.get_desktop_sizes()[0])
        scale = scale or max(LOADING) / max(h, w)
        scale = min(scale, most_wide / w, (most_high - FOOT * foot) / h)
        self._pane, self.panes = (round(scale * w), round(scale * h)), 1
        wide, high = self._pane
        self.foot = round(FOOT * unit_in((wide, high + FOOT))) if foot else 0
        self._size = wide, high + self.foot  # to come back to from full screen
        if not self.full_screen:
            self.open(self._size)

    def make_room(self, panes: int) -> None:
        """Let the window grow or shrink with the number of panes, as far as the desktop goes."""
        if panes == self.panes:
            return
        before, self.panes = self.panes, panes
        if self.full_screen:
            return
        size, shape = pygame.display.get_window_size(), self._pane[::-1]
        if size != self._size:  # a person made it another size
            room = size[0], size[1] - self.foot
            parts = grid(before, room, shape)
            self._pane = room[0] // parts[0], room[1] // parts[1]
        wide, high = (SHARE * n for n in pygame.display.get_desktop_sizes()[0])
        columns, rows = grid(panes, (wide, high - self.foot), shape)
        wanted = columns * self._pane[0], rows * self._pane[1] + self.foot
        scale = min(1.0, wide / wanted[0], high / wanted[1])
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
