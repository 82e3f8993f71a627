"""The window: events in, frames out.

It never waits for the model: keys and commands go to the `Player`, and what is drawn is the latest
moment that it handed over. All input comes as events, so posted events drive it in a test.
"""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pygame

from worldsim.brush import GROUND, RED
from worldsim.film import PIXELS, fit
from worldsim.hud import Status, draw_entry, draw_help, draw_hud, draw_message, draw_notice
from worldsim.keyboard import ARROWS, WASD
from worldsim.player import Player
from worldsim.prompt_entry import PromptEntry
from worldsim.session import Session, free_path
from worldsim.stage import Moment, Stage

LOADING = (704, 704)  # pixels, until the first frame tells its shape
REDRAWS = 60  # a second, at most
NOTICE = 4.0  # seconds
NAMES = {"return": "Enter", "escape": "Esc", "=": "+", "[+]": "+", "[-]": "-"}
NAMES |= {"left": "←", "right": "→", "up": "↑", "down": "↓"}

# keys, what F1 says they do, the command: of the session, or of the window if it begins with "_"
COMMANDS: list[tuple[tuple[int, ...], str, str, tuple]] = [
    ((pygame.K_p,), "pause", "pause", ()),
    ((pygame.K_n, pygame.K_PERIOD), "one step", "single_step", ()),
    ((pygame.K_BACKSPACE,), "hold to go back in time", "rewind", (True,)),
    ((pygame.K_MINUS, pygame.K_KP_MINUS), "slower", "change_speed", (-1,)),
    ((pygame.K_EQUALS, pygame.K_PLUS, pygame.K_KP_PLUS), "faster", "change_speed", (1,)),
    ((pygame.K_r,), "begin this start again", "restart", ()),
    ((pygame.K_RETURN, pygame.K_TAB), "next start", "next_start", ()),
    ((pygame.K_t,), "type a prompt", "_enter_prompt", ()),
    ((pygame.K_m,), "imagined or real simulator", "switch", ()),
    ((pygame.K_o,), "autopilot", "toggle_autopilot", ()),
    ((pygame.K_v,), "film: begin, end", "_record", ()),
    ((pygame.K_c,), "save a picture of the window", "_save_picture", ()),
    ((pygame.K_h,), "show or hide the HUD", "_toggle_hud", ()),
    ((pygame.K_g,), "pixels: sharp, whole, smooth", "_change_pixels", ()),
    ((pygame.K_F11,), "full screen", "_toggle_full_screen", ()),
    ((pygame.K_F1,), "this help", "_toggle_help", ()),
    ((pygame.K_ESCAPE,), "quit", "_quit", ()),
]


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
    ) -> None:
        self.open_session, self.title = open_session, title
        self.scale, self.pixels, self.hud = scale, pixels, hud
        self.full_screen, self.record_first = full_screen, record
        self.help, self.running = False, True
        self.entry: PromptEntry | None = None
        self.history: list[str] = []
        self.sessions: list[Session] = []
        self.player: Player | None = None
        self._drawn: tuple[Stage, Moment] | None = None
        self._dirty = True
        self._notice, self._notice_until = "", 0.0
        self._arrivals: deque[float] = deque(maxlen=30)
        self._latency_ms: float | None = None
        self._size: tuple[int, int] | None = None

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
        if self.player.error is not None:
            raise self.player.error
        return [film for session in self.sessions for film in session.films]

    def open(self) -> None:
        """Open the window and start the model's thread."""
        self._set_mode(LOADING)
        self._start_player()

    def close(self) -> None:
        """Close the window, wait for the film to be written, close the envs."""
        pygame.display.quit()
        if self.player.stop():
            for session in self.sessions:
                session.close()

    def update(self) -> None:
        """Handle the events that have come, and draw if there is news."""
        for event in pygame.event.get():
            self._dirty = True
            self.handle(event)
        if self.player.error is not None and self.player.latest is None:
            self.running = False  # nothing was on the screen yet: the caller tells the error
            return
        session, now = self.player.session, perf_counter()
        if session.notices:
            self._notify(session.notices.popleft())
        news = self.player.latest is not self._drawn or self.player.error is not None
        if news or self._dirty or self._drawn is None or self._notice:
            if now > self._notice_until:
                self._notice = ""
            self._dirty = False
            self.draw()
            pygame.display.flip()

    def handle(self, event: pygame.event.Event) -> None:
        """Act on one event."""
        if event.type == pygame.QUIT:
            self.running = False
        elif event.type == pygame.WINDOWFOCUSLOST:
            self.player.release()
        elif event.type == pygame.KEYUP:
            self.player.release(event.key)
            if event.key == pygame.K_BACKSPACE and self.player.session.rewinding:
                self.player.send("rewind", False)
        elif event.type == pygame.KEYDOWN and self.player.error is not None:
            if event.key == pygame.K_r:
                self._start_player()
            elif event.key == pygame.K_ESCAPE:
                self.running = False
        elif event.type == pygame.KEYDOWN and self.player.latest is None:
            self.running = event.key != pygame.K_ESCAPE
        elif event.type == pygame.KEYDOWN and self.entry is not None:
            self._type(event)
        elif event.type == pygame.KEYDOWN:
            self._press(event.key)

    def _press(self, key: int) -> None:
        """Drive, if the env binds the key; else obey."""
        stage = self.player.latest[0]
        if any(key in combination for combination in stage.bindings) and key != pygame.K_ESCAPE:
            self.player.press(key)
            return
        if pygame.K_1 <= key <= pygame.K_9:
            self.player.send("choose_prompt", key - pygame.K_1)
        for keys, _, command, args in COMMANDS:
            if key in keys and command.startswith("_"):
                getattr(self, command)(*args)
            elif key in keys:
                self.player.send(command, *args)

    def _type(self, event: pygame.event.Event) -> None:
        """Edit the prompt; Enter takes it, Escape drops it."""
        prompt = self.entry.prompt.strip()
        if event.key not in (pygame.K_RETURN, pygame.K_KP_ENTER, pygame.K_ESCAPE):
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
        """Draw the latest moment and what lies over it."""
        surface = pygame.display.get_surface()
        if self.player.error is not None:
            self._draw_error(surface)
            return
        if self.player.latest is None:
            draw_message(surface, self.title, ["waking up…"], "Esc  quit")
            return
        stage, moment = latest = self.player.latest
        if self._drawn is None:
            self._begin(moment)
            surface = pygame.display.get_surface()
        surface.blit(fit(moment.frame, surface.get_size(), self.pixels), (0, 0))
        if latest is not self._drawn:
            self._drawn = latest
            self._arrivals.append(perf_counter())
            if moment.pressed is not None:
                self._latency_ms = 1000 * (perf_counter() - moment.pressed)
        if self.hud:
            draw_hud(surface, stage, moment, self.status(), lower=self.entry is None)
        if self._notice and self.entry is None:
            draw_notice(surface, self._notice)
        if self.entry is not None:
            draw_entry(surface, self.entry.text, self.entry.suggestions, self.entry.chosen)
        if self.help:
            draw_help(surface, f"worldsim · {stage.title}", help_rows(stage))

    def status(self) -> Status:
        """Return what the HUD tells of the session."""
        session, film = self.player.session, self.player.session.film
        if session.paused:
            self._arrivals.clear()
        spent = self._arrivals[-1] - self._arrivals[0] if len(self._arrivals) > 1 else 0.0
        return Status(
            fps=(len(self._arrivals) - 1) / spent if spent else 0.0,
            latency_ms=self._latency_ms,
            speed=session.speed,
            paused=session.paused,
            rewinding=session.rewinding,
            autopilot=session.autopilot,
            recorded=film.seconds if film else None,
        )

    def _draw_error(self, surface: pygame.Surface) -> None:
        """Say what happened, what is saved and what to do."""
        error, session = self.player.error, self.player.session
        lines = [f"{type(error).__name__}: {error}"]
        lines += [f"saved: {film}" for film in session.films]
        draw_message(surface, "the model stopped", lines, "R  start again      Esc  quit", RED)

    def _begin(self, moment: Moment) -> None:
        """Give the window the shape of the first frame."""
        h, w = moment.frame.shape[:2]
        if not self.full_screen:
            scale = self.scale or max(LOADING) / max(h, w)
            self._set_mode((round(scale * w), round(scale * h)))
        if self.record_first:
            self._record()

    def _set_mode(self, size: tuple[int, int]) -> None:
        pygame.display.init()
        if self.full_screen:
            pygame.display.set_mode((0, 0), pygame.FULLSCREEN)
        else:
            self._size = size
            pygame.display.set_mode(size, pygame.RESIZABLE)
        pygame.display.set_caption(f"worldsim: {self.title}")
        pygame.display.get_surface().fill(GROUND)

    def _start_player(self) -> None:
        """Begin a fresh session on a thread of its own."""
        self.player = Player(self.open_session())
        self.sessions.append(self.player.session)
        self._drawn = None
        self.player.start()

    def _notify(self, text: str, seconds: float = NOTICE) -> None:
        self._notice, self._notice_until = text, perf_counter() + seconds

    def _enter_prompt(self) -> None:
        stage = self.player.latest[0]
        if not stage.offers("set_prompt"):
            self.player.send("set_prompt", "")  # says why not
            return
        self.entry = PromptEntry(self.history, stage.prompts)
        pygame.key.set_repeat(350, 40)

    def _record(self) -> None:
        self.player.send("record", self.hud)

    def _save_picture(self) -> None:
        path = free_path(self.player.session.out.with_suffix(".png"))
        path.parent.mkdir(parents=True, exist_ok=True)
        pygame.image.save(pygame.display.get_surface(), path)
        self._notify(f"picture in {path}")

    def _toggle_hud(self) -> None:
        self.hud = not self.hud

    def _change_pixels(self) -> None:
        self.pixels = PIXELS[(PIXELS.index(self.pixels) + 1) % len(PIXELS)]
        self._notify(f"{self.pixels} pixels", 1.0)

    def _toggle_help(self) -> None:
        self.help = not self.help

    def _toggle_full_screen(self) -> None:
        if not self.full_screen:
            self._size = pygame.display.get_window_size()
        self.full_screen = not self.full_screen
        self._set_mode(self._size or LOADING)

    def _quit(self) -> None:
        self.running = False


def help_rows(stage: Stage) -> list[tuple[str, str]]:
    """List the keys of an env and of the viewer, as F1 shows them."""
    bound = frozenset().union(*stage.bindings)
    names = ["Arrows"] * (bound >= set(ARROWS)) + ["WASD"] * (bound >= set(WASD))
    shown = {key for keys in (ARROWS, WASD) if bound >= set(keys) for key in keys}
    names += [_name(key) for key in sorted(bound - shown)]
    rows = [(", ".join(names[:6]), "play")] if names else []
    for keys, text, _, _ in COMMANDS:
        free = dict.fromkeys(_name(key) for key in keys if key not in bound)
        if free:
            rows.append((", ".join(free), text))
    if stage.prompts:
        rows.insert(-2, (f"1 … {min(9, len(stage.prompts))}", "example prompts"))
    return rows


def _name(key: int) -> str:
    name = NAMES.get(pygame.key.name(key), pygame.key.name(key))
    return name.strip("[]").capitalize() if len(name) > 1 or name.isalpha() else name
