"""The window: events in, frames out.

It never waits for the model: keys and commands go to the `Player`, and what is drawn is the latest
view that it handed over. All input comes as events, so posted events drive it in a test.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pygame
from pygame._sdl2 import controller

from worldsim.viewing.controls import Keys, asked
from worldsim.viewing.face import Face
from worldsim.viewing.film import PIXELS, places
from worldsim.viewing.gallery import ENTER
from worldsim.viewing.pad import SHOWING, Pad
from worldsim.viewing.player import Player
from worldsim.viewing.prompt_entry import PromptEntry
from worldsim.viewing.scene import View
from worldsim.viewing.session import Session

REDRAWS = 60  # a second, at most
SPLASH = 0.1  # seconds between two pictures while a world loads, which needs the processor more
# what the gallery takes; the rest goes on, else what is let go of meanwhile would stay held
CHOOSING = (
    pygame.KEYDOWN, pygame.MOUSEMOTION, pygame.MOUSEBUTTONDOWN, pygame.JOYBUTTONDOWN,
    pygame.JOYHATMOTION, pygame.CONTROLLERBUTTONDOWN,
)  # fmt: skip
AWAY = (pygame.K_ESCAPE, pygame.K_F7, pygame.K_i)  # keys that close the gallery


class Window(Face):
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
        super().__init__(
            Player(open_session), title, full_screen, keys=keys or Keys(),
            scale=scale, pixels=pixels, hud=hud, record=record,
        )  # fmt: skip
        self.pad = Pad(self.keys.buttons)
        self.running = True
        self.history: list[str] = []
        self._dirty, self._splash_due = True, 0.0

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
            pygame.key.set_repeat(0)
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

    def _enter_prompt(self) -> None:
        stage = self.player.latest[0]
        if not stage.offers("set_prompt"):
            self.player.send("set_prompt", "")  # says why not
            return
        self.player.send("expect_prompt")
        self.entry = PromptEntry(self.history, stage.prompts)
        pygame.key.set_repeat(350, 40)

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
