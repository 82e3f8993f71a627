"""What is drawn over a frame: panels, prompt, keys, help and messages."""

from dataclasses import dataclass

import numpy as np
import pygame
from gymnasium import spaces

from worldsim.keyboard import ARROWS, WASD, Bindings
from worldsim.space_json import action_to_json
from worldsim.viewing.brush import AMBER, GREEN, GROUND, INK, RED, SOFT, VIOLET, Brush, Rect
from worldsim.viewing.stage import Moment, Stage

HEAD = 128  # design pixels that the panels at the top take
FOOT = 100  # and those at the bottom, which have a strip of the window to themselves


@dataclass
class Status:
    """What the HUD tells of the session rather than of a frame."""

    fps: float = 0.0
    """Frames per second that reach the screen."""
    latency_ms: float | None = None
    """From a key to the first frame that answers to it."""
    speed: float = 1.0
    paused: bool = False
    rewinding: bool = False
    driver: str = "human"
    """One of `pilots.DRIVERS`."""
    recorded: float | None = None
    """Seconds of film recorded so far; None while nothing is."""
    jitter_ms: float = 0.0
    """Spread of the time between two frames on the screen."""


def unit_of(surface: pygame.Surface) -> float:
    """Return the size of a design pixel in a window."""
    return unit_in(surface.get_size())


def unit_in(size: tuple[int, int]) -> float:
    """Return the size of a design pixel in a window of `(width, height)`."""
    return float(np.clip(min(size[0] / 720, size[1] / 480), 0.8, 2.5))


def draw_hud(
    surface: pygame.Surface,
    stage: Stage,
    moment: Moment,
    status: Status,
    lower: bool = True,
) -> None:
    """Draw the HUD over a window.

    Args:
        surface: The window.
        stage: In focus.
        moment: Its moment.
        status: Of the session.
        lower: Whether to draw the lower panels; without them there is room to type.
    """
    brush = Brush(surface, unit_of(surface))
    edge = brush.px(12)
    right, bottom = surface.get_width() - edge, surface.get_height() - edge
    _draw_title(brush, edge, edge, stage, moment, status)
    _draw_score(brush, right, edge, moment)
    _draw_states(brush, surface.get_width() / 2, edge, moment, status)
    if lower:
        taken = draw_controls(brush, edge, bottom, stage.env.action_space, stage.bindings, moment)
        _draw_prompt(brush, taken + brush.px(8), right, bottom, moment.prompt)


def draw_label(brush: Brush, rect: Rect, text: str, focus: bool) -> None:
    """Write what a pane shows, below the panels at the top, and frame it if it is in focus."""
    x, y, w, h = rect
    if text:
        line = brush.wrap(text, w - brush.px(52), 1, 12)[0]
        top = y + brush.px(HEAD if y == 0 else 12)
        brush.pill(line, x + w / 2, top, AMBER if focus else INK, 12)
    if focus:
        pygame.draw.rect(brush.surface, AMBER, rect, max(1, brush.px(2)))


def _draw_title(
    brush: Brush, x: float, y: float, stage: Stage, moment: Moment, status: Status
) -> None:
    """Top left: what is played, and how fast."""
    kind, color = stage.kind, VIOLET if stage.imagined else GREEN
    speed = "" if status.speed == 1 else f" · ×{status.speed:g}"
    passes = "" if stage.sampler_steps is None else f" · K {stage.sampler_steps}"
    lag = "" if status.latency_ms is None else f" · key to frame {status.latency_ms:.0f} ms"
    lines = [
        f"{status.fps:.1f} fps ± {status.jitter_ms:.0f} ms{speed}",
        f"model {moment.model_ms:.0f} ms{lag}",
        f"step {moment.step} · seed {moment.seed}{passes}",
    ]
    tag = brush.width(kind, 12) + brush.px(16)
    heading = brush.width(stage.title, 16) + brush.px(10) + tag
    w = max(heading, *(brush.width(line, 12) for line in lines)) + brush.px(24)
    brush.panel((x, y, w, brush.px(88)))
    x, y = x + brush.px(12), y + brush.px(8)
    after = x + brush.text(stage.title, x, y, 16) + brush.px(10)
    brush.block((after, y + brush.px(1), tag, brush.px(18)), color, 9)
    brush.text(kind, after + tag / 2, y + brush.px(2), 12, GROUND, align=0.5)
    for i, line in enumerate(lines):
        brush.text(line, x, y + brush.px(25 + 16 * i), 12, SOFT)


def _draw_score(brush: Brush, right: float, y: float, moment: Moment) -> None:
    """Top right: return, reward and its course, the risk that the episode ends, and doubt."""
    gauges = [("end", moment.termination, RED), ("doubt", moment.doubt, VIOLET)]
    gauges = [gauge for gauge in gauges if gauge[1] is not None]
    w = brush.px(160)
    brush.panel((right - w, y, w, brush.px(72 + 18 * len(gauges))))
    x, inner, y = right - w + brush.px(12), w - brush.px(24), y + brush.px(8)
    brush.text(f"{moment.total:.1f}", x, y, 18)
    color = GREEN if moment.reward > 0 else RED if moment.reward < 0 else SOFT
    brush.text(f"{moment.reward:+.2f}", x + inner, y + brush.px(4), 13, color, align=1)
    brush.sparkline((x, y + brush.px(28), inner, brush.px(26)), moment.rewards, color)
    wide = max((brush.width(label, 12) for label, _, _ in gauges), default=0) + brush.px(8)
    for i, (label, level, high) in enumerate(gauges):
        at = y + brush.px(58 + 18 * i)
        brush.text(label, x, at, 12, SOFT)
        bar = (x + wide, at + brush.px(5), inner - wide, brush.px(6))
        brush.bar(bar, level, high if level > 0.5 else AMBER)


def draw_controls(
    brush: Brush,
    x: float,
    bottom: float,
    space: spaces.Space,
    bindings: Bindings,
    moment: Moment,
    glass: bool = True,
) -> float:
    """Draw the action as wheel and pedals if it has three axes, else as keys; return the right end.

    Args:
        brush: To draw with.
        x: Left end.
        bottom: Lower end.
        space: The action space.
        bindings: Of keys to actions.
        moment: Whose action is shown.
        glass: Whether to draw a panel behind.
    """
    w, top = controls_width(brush, space, bindings), bottom - brush.px(76)
    keys = [] if has_wheel(space) else lay_out_keys(bindings)
    if glass and w:
        brush.panel((x, top, w, brush.px(76)))
    for codes, label, column, row in keys:
        side = brush.px(24)
        at = x + brush.px(10 + 26 * column), top + brush.px(12 + 27 * row)
        brush.key(label, (*at, side, side), bool(moment.keys & codes))
    if has_wheel(space):
        steer, gas, brake = (0, 0, 0) if moment.action is None else moment.action / space.high
        brush.wheel(x + brush.px(42), top + brush.px(38), 27, steer)
        for i, (level, color) in enumerate([(gas, GREEN), (brake, RED)]):
            pedal = (x + brush.px(84 + 20 * i), top + brush.px(13), brush.px(12), brush.px(50))
            brush.bar(pedal, level, color)
    return x + w


def controls_width(brush: Brush, space: spaces.Space, bindings: Bindings) -> int:
    """Return how wide `draw_controls` draws; 0 if an env has neither wheel nor keys."""
    if has_wheel(space):
        return brush.px(132)
    columns = max((column + 1 for _, _, column, _ in lay_out_keys(bindings)), default=0)
    return brush.px(26 * columns + 18) if columns else 0


def has_wheel(space: spaces.Space) -> bool:
    """Return whether actions look like steering, gas and brake."""
    if not isinstance(space, spaces.Box) or space.shape != (3,):
        return False
    pedals = (space.low[1:] == 0).all() and np.isfinite(space.high).all()
    return bool(space.low[0] < 0 and pedals)


def lay_out_keys(bindings: Bindings) -> list[tuple[frozenset[int], str, int, int]]:
    """Place the bound keys as `(codes, label, column, row)`: arrows first, others beside them."""
    bound = frozenset().union(*bindings)
    places = [(0, 1), (2, 1), (1, 0), (1, 1)]
    keys, shown = [], set()
    for arrow, letter, place in zip(ARROWS, WASD, places, strict=True):
        if arrow in bound:
            one, other = (bindings.get(frozenset([key])) for key in (arrow, letter))
            twin = one is not None and action_to_json(one) == action_to_json(other)
            codes = frozenset([arrow, letter] if twin else [arrow])
            keys.append((codes, pygame.key.name(arrow), *place))
            shown |= codes
    first = 4 if keys else 0
    for i, key in enumerate(sorted(bound - shown)[:8]):
        label = {pygame.K_SPACE: "sp"}.get(key, pygame.key.name(key)[:3])
        keys.append((frozenset([key]), label, first + i % 4, i // 4))
    return keys


def _draw_prompt(brush: Brush, left: float, right: float, bottom: float, prompt: str) -> None:
    """Bottom: the prompt in force, in up to three lines."""
    room = min(right - left - brush.px(28), brush.px(560))
    if not prompt or room < brush.px(120):
        return
    lines = brush.wrap(prompt, room, 3, 13)
    w = max(brush.width(line, 13) for line in lines) + brush.px(28)
    h = brush.px(18 * len(lines) + 16)
    brush.panel((right - w, bottom - h, w, h))
    for i, line in enumerate(lines):
        brush.text(line, right - w + brush.px(14), bottom - h + brush.px(8 + 18 * i), 13)


def _draw_states(brush: Brush, centre: float, y: float, moment: Moment, status: Status) -> None:
    """Top centre: whatever is out of the ordinary."""
    minutes, seconds = divmod(int(status.recorded or 0), 60)
    pills = [
        (status.recorded is not None, f"recording {minutes}:{seconds:02d}", RED),
        (status.rewinding, "rewinding", AMBER),
        (status.paused and not status.rewinding, "paused", AMBER),
        (status.driver != "human", status.driver, VIOLET),
        (bool(moment.ended), f"{moment.ended} at {moment.total:.1f} · Enter: next", INK),
    ]
    for i, (text, color) in enumerate((text, color) for shown, text, color in pills if shown):
        brush.pill(text, centre, y + brush.px(34 * i), color, 12)
