"""Doom's engine as a child process that ends with its parent and leaves no files behind."""

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from worldsim.envs.doom_maps import write_maps

TICS = 4  # an action's length, of 35 a second
# the engine's 4:3 pictures, width and height
RESOLUTIONS = (
    (160, 120), (200, 150), (256, 192), (320, 240), (400, 300), (512, 384), (640, 480), (800, 600),
    (1024, 768), (1280, 960), (1600, 1200),
)  # fmt: skip
VARIABLES = (
    "HEALTH", "SELECTED_WEAPON_AMMO", "KILLCOUNT", "ARMOR", "POSITION_X", "POSITION_Y", "ANGLE",
    "VELOCITY_X", "VELOCITY_Y",
)  # fmt: skip
BUTTONS = (
    "MOVE_FORWARD", "MOVE_BACKWARD", "MOVE_LEFT", "MOVE_RIGHT", "TURN_LEFT_RIGHT_DELTA", "ATTACK",
)  # fmt: skip
# prctl(PR_SET_PDEATHSIG, SIGKILL), then become the engine; the parent may be gone already
_LAUNCH = """
import ctypes, os, sys
getattr(ctypes.CDLL(None), "prctl", lambda *_: 0)(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def import_vizdoom() -> Any:
    """Return the module `vizdoom`.

    Raises:
        ImportError: With the command that installs it.
    """
    try:
        import vizdoom
    except ImportError as error:
        raise ImportError(
            "`worldsim/Doom-v0` needs the package vizdoom, which is not installed; "
            "run: pip install --no-deps vizdoom (else it brings pygame, which overwrites pygame-ce)"
        ) from error
    return vizdoom


def start_game(size: tuple[int, int], level: str) -> Any:
    """Start the engine and load a map.

    Maps, settings and launcher lie in a temporary folder that is gone once the engine has read
    them, and the memory it shares with this process loses its name, so nothing is left even if
    this process is killed.

    Args:
        size: Width and height of its picture, one of `RESOLUTIONS`.
        level: Name of the map to load.

    Returns:
        A `vizdoom.DoomGame` with `BUTTONS` and `VARIABLES`, initialised.
    """
    vizdoom = import_vizdoom()
    game = vizdoom.DoomGame()
    home = Path(tempfile.mkdtemp(prefix="worldsim-doom-"))
    try:
        write_maps(home / "worldsim.wad")
        game.set_doom_scenario_path(str(home / "worldsim.wad"))
        game.set_doom_config_path(str(home / "settings.ini"))
        game.set_vizdoom_path(str(_launcher(home, Path(vizdoom.__file__).parent)))
        game.set_doom_game_path(str(Path(vizdoom.__file__).parent / "freedoom2.wad"))
        game.set_doom_map(level)
        game.set_doom_skill(3)
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_screen_resolution(getattr(vizdoom.ScreenResolution, "RES_{}X{}".format(*size)))
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_available_buttons([getattr(vizdoom.Button, name) for name in BUTTONS])
        game.set_available_game_variables([getattr(vizdoom.GameVariable, v) for v in VARIABLES])
        game.set_objects_info_enabled(True)
        game.set_labels_buffer_enabled(True)
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        for part in ("hud", "crosshair", "decals", "particles", "messages"):
            getattr(game, f"set_render_{part}")(False)
        game.set_render_weapon(True)
        game.add_game_args("+sv_cheats 1 +movebob 0 +r_visibility 20")
        game.init()
        _unlink_memory((home / "arguments").read_text())
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return game


def _launcher(home: Path, package: Path) -> Path:
    """Write a script that starts the engine in `home`, bound to the life of this process."""
    launch = shlex.join([sys.executable, "-IS", "-c", _LAUNCH, str(os.getpid())])
    script = home / "vizdoom"
    engine = shlex.quote(str(package / "vizdoom"))
    script.write_text(
        f'#!/bin/sh\ncd {shlex.quote(str(home))}\necho "$@" > arguments\n'
        f'exec {launch} {engine} "$@" > /dev/null 2>&1\n'
    )
    script.chmod(0o700)
    return script


def _unlink_memory(arguments: str) -> None:
    """Take the names from the shared memory that both processes have opened by now."""
    name = arguments.partition("+viz_instance_id ")[2].split()[0]
    for part in ("SM", "MQCtr", "MQDoom"):
        Path(f"/dev/shm/ViZDoom{part}{name}").unlink(missing_ok=True)
