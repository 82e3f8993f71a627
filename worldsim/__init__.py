"""worldsim turns environments into neural simulators."""

from pathlib import Path

import gymnasium

_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").exists() and (_root / "envs" / "__init__.py").exists():
    __path__.append(str(_root))  # an uninstalled checkout finds worldsim.envs and worldsim.configs

if "worldsim/Drive-v0" not in gymnasium.registry:
    gymnasium.register(
        "worldsim/Drive-v0", "worldsim.envs.drive:DriveEnv", max_episode_steps=1000
    )
    gymnasium.register(
        "worldsim/World-v0",
        "worldsim.env:WorldEnv",
        vector_entry_point="worldsim.env:WorldVectorEnv",
    )
