"""What a window shows of a session: panes, HUD, what lies over them."""

from time import perf_counter

import pygame

from worldsim.viewing.brush import GROUND, RED
from worldsim.viewing.controls import Keys, help_rows
from worldsim.viewing.display import Display
from worldsim.viewing.gallery import Gallery
from worldsim.viewing.hud import FOOT, Status, draw_hud, unit_of
from worldsim.viewing.overlays import draw_entry, draw_help, draw_message, draw_notice
from worldsim.viewing.pace import Pace
from worldsim.viewing.panes import count_panes, draw_panes
from worldsim.viewing.player import Player
from worldsim.viewing.prompt_entry import PromptEntry
from worldsim.viewing.scene import View
from worldsim.viewing.splash import draw_splash

NOTICE = 4.0  # seconds


class Face:
    """Draws the latest view of a session; the part of a `Window` that does.

    Args:
        player: Has the session.
        title: Of the window.
        full_screen: Whether to start in full screen.
        keys: A player's own bindings.
        scale: Window pixels to a frame pixel at first; None makes the longer side some 700.
        pixels: How frames are enlarged, one of `film.PIXELS`.
        hud: Whether to show the HUD at first.
        record: Whether to start filming at the first frame.

    Attributes:
        help: Whether the keys are listed.
        difference: Whether the difference of two panes is shown beside them.
        entry: The prompt that is being typed.
        gallery: Pictures to begin from, while they are shown.
    """

    def __init__(
        self,
        player: Player,
        title: str,
        full_screen: bool,
        *,
        keys: Keys,
        scale: float | None,
        pixels: str,
        hud: bool,
        record: bool,
    ) -> None:
        self.player, self.title, self.keys = player, title, keys
        self.display, self.pace = Display(title, full_screen), Pace()
        self.scale, self.pixels, self.hud, self.record_first = scale, pixels, hud, record
        self.help = self.difference = False
        self.entry: PromptEntry | None = None
        self.gallery: Gallery | None = None
        self._drawn: View | None = None
        self._notice, self._notice_until = "", 0.0
        self._opened = 0.0

    def draw(self) -> None:
        """Draw the latest view and what lies over it."""
        surface = pygame.display.get_surface()
        if self.player.error is not None:
            self._draw_error(surface)
            return
        view, starts = self.player.view, self.player.session.gallery
        if view is None:
            draw_splash(surface, self.title, perf_counter() - self._opened)
            return
        if self._drawn is None:
            self._begin(view)
        self.display.make_room(count_panes(view, self.difference))
        surface = pygame.display.get_surface()
        if starts is None:
            self.gallery = None
        elif self.gallery is None or self.gallery.starts is not starts:
            self.gallery = Gallery(starts)
        shot = view.shots[view.focus]
        surface.fill(GROUND)
        room = surface.subsurface(self._room())
        draw_panes(room, view, self.pixels, self.difference, self.hud)
        if self.gallery is not None:
            self.gallery.draw(surface)
            return
        if self.hud:
            draw_hud(surface, shot.stage, shot.moment, self.status(), lower=self.entry is None)
        if self._notice and self.entry is None:
            draw_notice(surface, self._notice)
        if self.entry is not None:
            draw_entry(surface, self.entry.text, self.entry.suggestions, self.entry.chosen)
        if self.help:
            rows = help_rows(shot.stage, self.keys.aliases)
            draw_help(surface, f"worldsim · {shot.stage.title}", rows)

    def _room(self) -> pygame.Rect:
        """Return where the panes are: above the lower panels of the HUD, if that is shown."""
        surface = pygame.display.get_surface()
        w, h = surface.get_size()
        foot = round(FOOT * unit_of(surface)) if self.hud and h > 2 * FOOT else 0
        return pygame.Rect(0, 0, w, h - foot)

    def status(self) -> Status:
        """Return what the HUD tells of the session."""
        session, film = self.player.session, self.player.session.film
        if session.paused:
            self.pace.pause()
        return Status(
            fps=self.pace.fps,
            jitter_ms=self.pace.jitter_ms,
            latency_ms=self.pace.latency_ms,
            speed=session.speed,
            paused=session.paused,
            rewinding=session.rewinding,
            driver=session.driver,
            recorded=film.seconds if film else None,
        )

    def _draw_error(self, surface: pygame.Surface) -> None:
        """Say what happened, what is saved and what to do."""
        error, session = self.player.error, self.player.session
        lines = [f"{type(error).__name__}: {error}"]
        lines += [f"saved: {film}" for film in session.films]
        draw_message(surface, "the model stopped", lines, "R  start again      Esc  quit", RED)

    def _begin(self, view: View) -> None:
        """Give the window the shape of the first frame."""
        self.display.fit(view.shots[0].moment.frame.shape[:2], self.scale, self.hud)
        if self.record_first:
            self._record()
            self.record_first = False

    def _notify(self, text: str, seconds: float = NOTICE) -> None:
        self._notice, self._notice_until = text, perf_counter() + seconds

    def _record(self) -> None:
        self.player.send("record", self.hud)
