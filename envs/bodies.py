"""Cars as boxes with a cabin and four lamps."""

import math
from functools import lru_cache

import numpy as np
from worldsim.envs.optics import fixed


def car_faces(lens, mood, x, z, yaw, size, colour, braking, own) -> list:  # noqa: ANN001
    """Return the visible faces of a car, each a little nearer than the one it covers.

    Args:
        lens: What sees it.
        mood: The light in which it does.
        x: Metres to the right of the eye ...
        z: ... and ahead of it.
        yaw: Against the eye's.
        size: Length, width and height in metres.
        colour: RGB.
        braking: Whether its lamps shine.
        own: Whether it is the player's, which no night hides.

    Returns:
        Distance, polygon `(points, 2)` in cv2's fixed point and colour of each.
    """
    corners, colours, sides = _faces(size, colour)
    cos, sin = math.cos(yaw), math.sin(yaw)
    hidden = set()
    for k, (a, b, na, nb) in sides.items():
        at_x, at_z = x + a * cos - b * sin, z + a * sin + b * cos
        if at_x * (na * cos - nb * sin) + at_z * (na * sin + nb * cos) >= 0:
            hidden.add(k)
    rear = cos > 0
    shown = [k for k in range(11) if k not in hidden] + ([11, 12] if rear else [13, 14])
    a, b, y = corners[:, shown]  # (faces, 4) each
    points = lens.project(x + a * cos - b * sin, y, np.maximum(z + a * sin + b * cos, 0.6))
    shine = mood.light(x, z)
    lit = colours[shown] * (np.maximum(shine, 0.3) if own else shine)
    lit[-2:] = colours[shown[-2:]] * np.float32(
        1.0 if braking or not rear else 0.75 if mood.time == "night" else 0.5
    )
    shades = mood.veil(lit, mood.fog(z)).tolist()
    return [
        (z - 1e-2 * k, polygon, shade)
        for k, (polygon, shade) in enumerate(zip(fixed(points), shades, strict=True))
    ]


@lru_cache
def _faces(size: tuple, colour: tuple) -> tuple[np.ndarray, np.ndarray, dict]:
    """Return the faces of a car of some size, from the shadow up, the four lamps last.

    Returns:
        Corners `(3, faces, 4)` to the right, ahead and up; colours `(faces, 3)`; and of the
        upright faces, by index, the middle and the normal.
    """
    length, width, height = size
    cabin = (52, 60, 74) if height < 2.2 else colour
    quads = [_quad(-width / 2, width / 2, -length / 2, length / 2, 0.02)]
    colours, sides = [np.float32((16, 16, 18))], {}
    for back, front, half, low, high, paint in (
        (-length / 2, length / 2, width / 2, 0.3, 0.55 * height, colour),
        (-0.36 * length, 0.18 * length, 0.42 * width, 0.55 * height, height, cabin),
    ):
        ground = [(-half, back), (half, back), (half, front), (-half, front)]
        for k, normal in enumerate([(0, -1), (1, 0), (0, 1), (-1, 0)]):
            (a0, b0), (a1, b1) = ground[k], ground[(k + 1) % 4]
            sides[len(quads)] = ((a0 + a1) / 2, (b0 + b1) / 2, *normal)
            quads.append([(a0, b0, low), (a1, b1, low), (a1, b1, high), (a0, b0, high)])
            colours.append(np.float32(paint) * (0.7 if k % 2 else 0.86))
        quads.append(_quad(-half, half, back, front, high))
        colours.append(np.float32(paint) * 1.1)
    for b, lamp in ((-length / 2 - 0.02, (255, 50, 36)), (length / 2 + 0.02, (255, 246, 210))):
        for a in (-0.36 * width, 0.36 * width):
            left, right = a - 0.24, a + 0.24
            quads.append([(left, b, 0.5), (right, b, 0.5), (right, b, 0.88), (left, b, 0.88)])
            colours.append(np.float32(lamp))
    return np.moveaxis(np.array(quads), -1, 0), np.array(colours), sides


def _quad(left: float, right: float, back: float, front: float, y: float) -> list:
    return [(left, back, y), (right, back, y), (right, front, y), (left, front, y)]
