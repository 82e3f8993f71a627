"""The window: events in, frames out.

It never waits for the model: keys and commands go to the `Player`, and what is drawn is the latest
view that it handed over. All input comes as events, so posted events drive it in a test.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pygame
from pygame._sdl2 import controller

from worldsim.viewing.brush import GROUND, RED
from worldsim.viewing.controls import Keys, asked, help_rows
from worldsim.viewing.display import Display
from worldsim.viewing.film import PIXELS, places
from worldsim.viewing.gallery import ENTER, Gallery
from worldsim.viewing.hud import FOOT, Status, draw_hud, unit_of
from worldsim.viewing.overlays import draw_entry, draw_help, draw_message, draw_notice
from worldsim.viewing.pace import Pace
from worldsim.viewing.pad import SHOWING, Pad
from worldsim.viewing.panes import count_panes, draw_panes
from worldsim.viewing.player import Player
from worldsim.viewing.prompt_entry import PromptEntry
from worldsim.viewing.scene import View
from worldsim.viewing.session import Session
from worldsim.viewing.splash import draw_splash

REDRAWS = 60  # a second, at most
NOTICE = 4.0  # seconds
SPLASH = 0.1  # seconds between two pictures while a world loads, which needs the processor more
# what the gallery takes; the rest goes on, else what is let go of meanwhile would stay held
CHOOSING = (
    pygame.KEYDOWN, pygame.MOUSEMOTION, pygame.MOUSEBUTTONDOWN, pygame.JOYBUTTONDOWN,
    pygame.JOYHATMOTION, pygame.CONTROLLERBUTTONDOWN,
)  # fmt: skip
AWAY = (pygame.K_ESCAPE, pygame.K_F7, pygame.K_i)  # keys that close the gallery


class Window:
    """Show a session in a pygame window.

    Args:
        open_session: Makes a fresh session; called again if the model fails and the player retries.
        title: Of the window.
        scale: Window pixels to a frame pixel at first; None makes the longer side some 700.
        pixels: How frames are enlarged, one of `film.PIXELS`.
        hud: Whether to show the HUD at first.
        full_screen: Whether to start in full screen.
        record: Whether to start filming at the first frame.
        keys: A player's own bindings.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        title: str,
        *,
        scale: float | None = None,
        pixels: str = PIXELS[0],
        hud: bool = True,
        full_screen: bool = False,
        record: bool = False,
        keys: Keys | None = None,
    ) -> None:
        self.player, self.title = Player(open_session), title
        self.scale, self.pixels, self.hud = scale, pixels, hud
        self.display, self.pace = Display(title, full_screen), Pace()
        self.record_first = record
        self.keys = keys or Keys()
        self.pad = Pad(self.keys.buttons)
        self.help, self.running, self.difference = False, True, False
        self.entry: PromptEntry | None = None
        self.gallery: Gallery | None = None
        self.history: list[str] = []
        self._drawn: View | None = None
        self._dirty = True
        self._notice, self._notice_until = "", 0.0
        self._opened = self._splash_due = 0.0

    def run(self) -> list[Path]:
        """Open the window and play until the player quits.

        Returns:
            The films that were recorded.

        Raises:
            BaseException: What the model raised, if that was how it ended.
        """
        self.open()
        clock = pygame.time.Clock()
        try:
            while self.running:
                self.update()
                clock.tick(REDRAWS)
        finally:
            self.close()
        return self.player.finish()

    def open(self) -> None:
        """Open the window and start the model's thread."""
        self.display.open()
        pygame.joystick.init()
        controller.init()
        self.player.start()
        self._opened = perf_counter()

    def close(self) -> None:
        """Close the window, wait for the film to be written, close the envs."""
        controller.quit()
        pygame.joystick.quit()
        pygame.display.quit()
        self.player.close()

    def update(self) -> None:
        """Handle the events that have come, and draw if there is news."""
        for event in pygame.event.get():
            self._dirty = True
            self.handle(event)
        if self.player.error is not None and self.player.view is None:
            self.running = False  # nothing was on the screen yet: the caller tells the error
            return
        session, now, view = self.player.session, perf_counter(), self.player.view
        if session.notices:
            self._notify(session.notices.popleft())
        news = view is not self._drawn or self.player.error is not None
        waiting = view is None and now > self._splash_due
        if not (news or self._dirty or waiting or self._notice):
            return
        self._splash_due = now + SPLASH
        if now > self._notice_until:
            self._notice = ""
        self._dirty = False
        self.draw()
        pygame.display.flip()
        if view is not None and view is not self._drawn:
            self._drawn = view
            self.pace.arrived(view)

    def handle(self, event: pygame.event.Event) -> None:
        """Act on one event."""
        view, error = self.player.view, self.player.error
        if event.type == pygame.QUIT:
            self.running = False
        elif event.type == pygame.WINDOWFOCUSLOST:
            self.pad.let_go()
            self.player.release()
        elif event.type in (pygame.JOYDEVICEADDED, pygame.JOYDEVICEREMOVED):
            self.player.steer(self.pad.axes(event, pygame.display.get_window_size()))
        elif event.type == pygame.KEYUP:
            self.player.release(self.keys.aliases.get(event.key, event.key))
        elif event.type == pygame.KEYDOWN and (error is not None or view is None):
            if error is not None and event.key == pygame.K_r and self.entry is None:
                self.player.start()
                self._drawn, self._opened = None, perf_counter()
            self.entry = None  # what was being typed when the model stopped
            self.running = event.key != pygame.K_ESCAPE
        elif error is not None or view is None:
            return
        elif event.type == pygame.KEYDOWN and self.entry is not None:
            self._type(event)
        elif event.type == pygame.DROPFILE:
            self.player.send("begin_from_image", event.file)
        elif self.gallery is not None and event.type in CHOOSING:
            self._choose(event)
        elif event.type == pygame.KEYDOWN:
            self._press(self.keys.aliases.get(event.key, event.key), getattr(event, "mod", 0))
        else:
            self._play(event, view)

    def _play(self, event: pygame.event.Event, view: View) -> None:
        """Drive by pad or mouse; a click puts a pane into focus."""
        size = pygame.display.get_window_size()
        if event.type == pygame.MOUSEBUTTONDOWN and event.button == 1 and len(view.shots) > 1:
            shape = view.shots[0].moment.frame.shape
            rects = places(self.display.panes, self._room().size, shape)[: len(view.shots)]
            hits = [i for i, rect in enumerate(rects) if pygame.Rect(rect).collidepoint(event.pos)]
            if hits and hits[0] != view.focus:
                self.player.send("focus", hits[0])  # and do not steer
                return
        self.player.steer(self.pad.axes(event, size))
        for key, down in self.pad.keys(event):
            (self._press if down else self.player.release)(key)

    def _press(self, key: int, held: int = 0) -> None:
        """Drive, if the env binds the key; else obey, unless Ctrl, Alt or Meta is `held`."""
        stage = self.player.latest[0]
        if any(key in combination for combination in stage.bindings) and key != pygame.K_ESCAPE:
            self.player.press(key)
            return
        if held & (pygame.KMOD_CTRL | pygame.KMOD_ALT | pygame.KMOD_META):
            if key in ENTER and held & pygame.KMOD_ALT:
                self._toggle_full_screen()
            return
        for command, args in asked(key):
            if command.startswith("_"):
                getattr(self, command)(*args)
            else:
                self.player.send(command, *args)

    def _choose(self, event: pygame.event.Event) -> None:
        """Choose a picture to begin from, or none."""
        for key, down in self.pad.keys(event):
            if down:
                self._choose(pygame.event.Event(pygame.KEYDOWN, key=SHOWING.get(key, key)))
            else:
                self.player.release(key)
        if self.gallery.handle(event):
            self.player.send("begin_from_start", self.gallery.chosen)
        elif event.type == pygame.KEYDOWN and event.key in AWAY:
            self.player.send("close_gallery")

    def _type(self, event: pygame.event.Event) -> None:
        """Edit the prompt; Enter takes it, Escape drops it."""
        prompt = self.entry.prompt.strip()
        if event.key not in (*ENTER, pygame.K_ESCAPE):
            self.entry.edit(event)
            return
        self.entry = None
        pygame.key.set_repeat(0)  # held keys drive again
        anew = bool(event.mod & pygame.KMOD_SHIFT)
        if event.key == pygame.K_ESCAPE or not (prompt or anew):
            return
        if prompt:
            self.history = [p for p in self.history if p != prompt] + [prompt]
        self._notify("reading the prompt…", 1.0)
        self.player.send("begin" if anew else "set_prompt", prompt)

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

    def _enter_prompt(self) -> None:
        stage = self.player.latest[0]
        if not stage.offers("set_prompt"):
            self.player.send("set_prompt", "")  # says why not
            return
        self.player.send("expect_prompt")
        self.entry = PromptEntry(self.history, stage.prompts)
        pygame.key.set_repeat(350, 40)

    def _record(self) -> None:
        self.player.send("record", self.hud)

    def _save_picture(self) -> None:
        try:
            path = self.display.save(self.player.session.out.with_suffix(".png"))
        except (OSError, pygame.error) as error:
            self._notify(f"no picture: {error}")
        else:
            self._notify(f"picture in {path}")

    def _toggle_hud(self) -> None:
        self.hud = not self.hud

    def _toggle_difference(self) -> None:
        self.difference = not self.difference

    def _change_pixels(self) -> None:
        self.pixels = PIXELS[(PIXELS.index(self.pixels) + 1) % len(PIXELS)]
        self._notify(f"{self.pixels} pixels", 1.0)

    def _toggle_help(self) -> None:
        self.help = not self.help

    def _toggle_full_screen(self) -> None:
        self.display.toggle_full_screen()

    def _quit(self) -> None:
        """Close the help, else leave full screen, else quit."""
        if self.help:
            self.help = False
        elif self.display.full_screen:
            self._toggle_full_screen()
        else:
            self.running = False
