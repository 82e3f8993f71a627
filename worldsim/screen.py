"""The little of pygame that an environment needs: a window to be seen in, and the names of keys.

pygame is imported when it is used; an environment without a window never needs it.
"""

from functools import cache
from typing import Any

import numpy as np
from gymnasium.spaces import Space

from worldsim.space_json import action_from_json

SIDE = 512  # pixels that the longer side of a frame is enlarged to, by a whole factor


class Screen:
    """A window that shows one frame after another, at an even pace; for `render_mode="human"`.

    Args:
        title: Of the window.
        fps: Frames per second.
    """

    def __init__(self, title: str, fps: int) -> None:
        import pygame

        self.title, self.fps, self.clock = title, fps, pygame.time.Clock()

    def show(self, frames: np.ndarray) -> None:
        """Show `(n, h, w, 3)` uint8 side by side."""
        import pygame

        from worldsim.images import tile

        picture = tile(frames)
        h, w = picture.shape[:2]
        factor = max(1, SIDE // max(h, w))
        pygame.display.init()
        surface = pygame.display.get_surface()  # another env may have opened or closed the window
        if surface is None:
            pygame.display.set_caption(self.title)
            surface = pygame.display.set_mode((w * factor, h * factor))
        image = pygame.image.frombuffer(picture.tobytes(), (w, h), "RGB")
        surface.blit(pygame.transform.scale(image, surface.get_size()), (0, 0))
        pygame.event.pump()
        pygame.display.flip()
        self.clock.tick(self.fps)

    def close(self) -> None:
        """Close the window."""
        import pygame

        pygame.display.quit()


@cache
def key_codes() -> dict[str, int]:
    """Return pygame's code of each key by its name, such as "left" or "a"; needs no display."""
    import pygame

    codes = [code for name, code in vars(pygame).items() if name.startswith("K_")]
    return {pygame.key.name(code): code for code in codes if pygame.key.name(code)}


def read_bindings(keys: list[Any], space: Space) -> dict[tuple[int, ...], Any]:
    """Read keys as worlds and data sets store them, `[["left", "up"], action]`.

    Args:
        keys: Combinations by pygame's names; those without a key, or with one that pygame does not
            know, are left out.
        space: Of the actions.
    """
    codes = key_codes()
    return {
        tuple(codes[name] for name in names): action_from_json(space, action)
        for names, action in keys
        if names and all(name in codes for name in names)
    }
