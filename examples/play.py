"""Play a world: in a window, or as a film where there is no display.

python examples/play.py [world] [prompt]
"""

import sys

import worldsim

if __name__ == "__main__":
    name, prompt = (*sys.argv[1:], None, None)[:2]
    worldsim.play(name or "drive", prompt=prompt)
