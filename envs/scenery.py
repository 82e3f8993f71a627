"""The land around a track: a ground texture, plants or buildings beside the road, hills, a barrier.

Coordinates are metres, x east and y north. A track runs round the origin, so a half-plane through
the origin splits it in two where a scene crosses into another biome.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from worldsim.envs.scenes import BIOMES

PIXELS = 3.0  # of ground texture per metre
MARGIN = 34.0  # metres from the outermost bend to the barrier
SHIFT = 4  # fractional bits of cv2 coordinates
Panels = tuple[np.ndarray, np.ndarray, np.ndarray]  # ends (n, 2, 2), heights (n, 2), colours
BEHIND, AHEAD = 8, 16  # track points among which to look for the next nearest one

# Height and width of props in metres, and how near the road they may stand.
PROP_SIZES = {
    "tree": ((4.0, 8.0), (1.6, 3.0), 4.0),
    "pine": ((4.5, 9.0), (1.6, 2.6), 4.0),
    "cactus": ((2.5, 4.5), (1.6, 2.4), 4.0),
    "building": ((8.0, 26.0), (6.0, 10.0), 9.0),
}


@dataclass(frozen=True)
class Props:
    """Things of one kind that stand beside the road: places, heights, widths, colours."""

    kind: str
    xy: np.ndarray
    height: np.ndarray
    width: np.ndarray
    colour: np.ndarray


class Land:
    """Everything that stands still in an episode.

    Args:
        track: `(k, 2)`, the centre line, a closed loop.
        half_width: Of the road, metres.
        kerbs: Quads `(4, 2)` and their colours.
        scene: With `biome` and perhaps `next_biome`.
        seed: Chooses patches, props and hills.
    """

    def __init__(
        self, track: np.ndarray, half_width: float, kerbs: list, scene: dict, seed: int
    ) -> None:
        rng = np.random.default_rng((seed, 1))
        self.track, self.half_width = track, half_width
        step = np.roll(track, -1, 0) - track
        self.length = np.linalg.norm(step, axis=1)
        self.tangent = step / self.length[:, None]
        self.right = np.stack([self.tangent[:, 1], -self.tangent[:, 0]], 1)
        self.arc = np.concatenate([[0.0], np.cumsum(self.length)])
        self.ring = np.concatenate([track[-BEHIND:], track, track[:AHEAD]])
        self.extent = float(np.abs(track).max()) + MARGIN
        self.biomes = [scene["biome"], scene.get("next_biome", scene["biome"])]
        # the first half of the lap, from the gantry at track[0], lies on the positive side
        middle = track[len(track) // 2] - track[0]
        self.split = np.array([-middle[1], middle[0]]) / (np.linalg.norm(middle) + 1e-9)
        if (track[len(track) // 4] - track[0]) @ self.split < 0:
            self.split = -self.split
        self.gantry, self.barrier = self._gantry(), self._barrier()
        self.texture = self._paint(rng, kerbs)
        self.mip = cv2.resize(self.texture, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
        self.props = [self._grow(rng, side) for side in range(len(set(self.biomes)))]
        hills = np.convolve(np.tile(rng.random(360), 3), np.ones(14) / 14, "same")[360:720]
        self.hills = hills * (1.4 if self.biomes[0] == "city" else 1.0)

    def side(self, xy: np.ndarray) -> np.ndarray:
        """Return 0 where `xy` `(..., 2)` lies in the first biome, 1 in the second, soft between."""
        return np.clip(0.5 - (xy - self.track[0]) @ self.split / 12.0, 0, 1)

    def _gantry(self) -> Panels:
        """Return two posts and a chequered beam over the start of the track."""
        w, at, side = self.half_width + 1.0, self.track[0], self.right[0]
        ends, heights, colours = [], [], []
        for s in (-1, 1):
            ends.append((at + side * (s * w - 0.35), at + side * (s * w + 0.35)))
            heights.append((0, 6.0))
            colours.append((150, 152, 158))
        for k, (a, b) in enumerate(pairwise(np.linspace(-w, w, 9))):
            for row in (0, 1):
                ends.append((at + side * a, at + side * b))
                heights.append((4.6 + 0.7 * row, 5.3 + 0.7 * row))
                colours.append((236, 236, 236) if (k + row) % 2 else (30, 30, 34))
        return np.array(ends), np.array(heights), np.array(colours, np.float32)

    def _barrier(self) -> Panels:
        """Return the red and white panels round the field."""
        edge = self.extent - 1.5
        corners = np.array([[-edge, -edge], [edge, -edge], [edge, edge], [-edge, edge]])
        ends = []
        for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
            ends += pairwise(a + (b - a) * np.linspace(0, 1, 33)[:, None])
        heights = np.tile((0, 1.3), (len(ends), 1))
        colours = np.tile(np.float32([(232, 232, 232), (200, 40, 40)]), (len(ends) // 2, 1))
        return np.array(ends), heights, colours

    def _paint(self, rng: np.random.Generator, kerbs: list) -> np.ndarray:
        n = int(2 * self.extent * PIXELS)
        coarse = rng.random((n // 30, n // 30)).astype(np.float32)
        patches = cv2.resize(coarse, (n, n), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        axis = (np.arange(n, dtype=np.float32) + 0.5) / PIXELS - self.extent
        texture = np.empty((n, n, 3), np.uint8)
        for start in range(0, n, 32):  # a few rows stay in the processor's cache
            rows = slice(start, start + 32)
            texture[rows] = self._ground(patches[rows], axis, axis[rows])
        biome, w = BIOMES[self.biomes[0]], self.half_width
        self._line(texture, 0, 2 * w + 1.6, tuple(int(0.8 * v) for v in biome.ground))
        self._line(texture, 0, 2 * w, biome.road)
        for quad, colour in kerbs:
            points = self._pixels(np.asarray(quad))
            cv2.fillConvexPoly(texture, points, tuple(map(int, colour)), cv2.LINE_AA, SHIFT)
        for offset in (w - 0.7, 0.7 - w):
            self._line(texture, offset, 0.45, (225, 225, 225))
        for i in range(0, len(self.track) - 1, 3):
            ends = self._pixels(self.track[i] + self.tangent[i] * [[0.0], [4.0]])
            width = max(1, int(0.45 * PIXELS))
            cv2.line(texture, *map(tuple, ends.tolist()), (236, 214, 90), width, cv2.LINE_AA, SHIFT)
        return texture

    def _ground(self, patches: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the bare ground's colours `(rows, n, 3)`."""
        grounds = np.empty((2, 3, *patches.shape), np.float32)
        mixed = len(set(self.biomes)) > 1
        for ground, name in zip(grounds[: 1 + mixed], self.biomes, strict=False):
            for c in range(3):
                base, patch = BIOMES[name].ground[c], BIOMES[name].patches[c]
                ground[c] = base * (1 - patches) + patch * patches
        if mixed:
            share = self.side(np.stack(np.meshgrid(x, y), -1)).astype(np.float32)
            grounds[0] = grounds[0] * (1 - share) + grounds[1] * share
        return np.moveaxis(grounds[0], 0, -1)

    def _line(self, texture: np.ndarray, offset: float, width: float, colour: tuple) -> None:
        points = self._pixels(self.track + self.right * offset)
        cv2.polylines(
            texture, [points], True, colour, max(1, round(width * PIXELS)), cv2.LINE_AA, SHIFT
        )

    def _pixels(self, xy: np.ndarray) -> np.ndarray:
        return np.round((xy + self.extent) * PIXELS * 2**SHIFT).astype(np.int32)

    def _grow(self, rng: np.random.Generator, side: int) -> Props:
        biome = BIOMES[self.biomes[side]]
        heights, widths, near = PROP_SIZES[biome.prop]
        count = int(len(self.track) * 1.5 * biome.density)
        at = rng.integers(0, len(self.track), count)
        sign = rng.choice([-1, 1], count)
        offset = sign * (self.half_width + rng.uniform(near, 34, count))
        xy = self.track[at] + self.right[at] * offset[:, None]
        gap = np.linalg.norm(xy[:, None] - self.track[None], axis=2).min(1)
        keep = (gap > self.half_width + 0.75 * near) & (np.abs(xy).max(1) < self.extent - 3)
        keep &= (self.side(xy) > 0.5) == bool(side) if len(set(self.biomes)) > 1 else True
        xy, count = xy[keep], int(keep.sum())
        colours = np.array(biome.prop_colours, float)[
            rng.integers(0, len(biome.prop_colours), count)
        ]
        return Props(
            biome.prop, xy, rng.uniform(*heights, count), rng.uniform(*widths, count), colours
        )

    def locate(self, xy: np.ndarray, near: int | None = None) -> int:
        """Return the index of the track point nearest to `xy`, looking round index `near` first."""
        if near is not None:
            gap = np.linalg.norm(self.ring[near : near + BEHIND + AHEAD] - xy, axis=1)
            nearest = int(gap.argmin())
            if gap[nearest] < 25:
                return (near - BEHIND + nearest) % len(self.track)
        return int(np.linalg.norm(self.track - xy, axis=1).argmin())

    def offset(self, xy: np.ndarray, index: int) -> tuple[float, float]:
        """Return arc length along the track and metres to the right of the centre line."""
        away = xy - self.track[index]
        along = min(max(float(away @ self.tangent[index]), -5.0), 5.0)
        return float(self.arc[index] + along), float(away @ self.right[index])

    def heading(self, index: int) -> float:
        """Return the road's yaw at a track point, radians; forward is (-sin, cos)."""
        tx, ty = self.tangent[index % len(self.track)]
        return math.atan2(-tx, ty)

    def curvature(self, index: int) -> float:
        """Return how far the road turns over the next 8 points, radians, left positive."""
        turn = self.heading(index + 8) - self.heading(index + 1)
        return (turn + math.pi) % (2 * math.pi) - math.pi
