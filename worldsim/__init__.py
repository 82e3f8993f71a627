"""Turn environments into worlds: learned simulators to prompt, play, step, train in and film.

Every public name stands in `_PUBLIC` with the module it comes from, which is imported when the name
is first used: `import worldsim` loads neither torch nor pygame and needs no display.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium

__version__ = "0.1.0"

_MODULES = {
    "images": ("contact_sheet",),
    "video": ("write_video",),
    "decoding": ("read_video",),
    "data": ("open_dataset",),
    "datasets.writing": ("DatasetWriter",),
    "datasets.episodes": ("DatasetInfo", "Episode", "Episodes", "MemoryDataset"),
    "recording": ("record", "record_episode"),
    "datasets.inspection": ("inspect", "preview"),
    "conversion": ("SourceFaults", "convert"),
    "datasets.splicing": ("merge", "split"),
    "captions": ("EXAMPLE_PROMPTS", "caption", "expand_prompt", "recaption"),
    "text": ("TextEncoder",),
    "tokenizer": ("Tokenizer", "TokenizerConfig"),
    "architecture": ("DynamicsConfig",),
    "dynamics": ("Dynamics",),
    "corruption": ("ObjectiveConfig",),
    "starts": ("Starts",),
    "world": ("World", "WorldConfig"),
    "loading": ("list_worlds", "load"),
    "building": ("build_world",),
    "rollout": ("Rollout",),
    "vector_env": ("WorldVectorEnv",),
    "env": ("WorldEnv",),
    "generate": ("edit", "extend", "image_to_video", "infill", "loop", "text_to_video"),
    "viewer": ("PlayConfig", "play"),
    "agents": ("LearnConfig", "judge_agent", "load_agent", "train_agent"),
    "logs": ("WandbConfig",),
    "runs": ("TrainConfig",),
    "training": ("fit",),
    "sizes": ("ModelConfig", "model_config"),
    "recipes": ("train_dynamics", "train_tokenizer"),
    "finishing": ("train_decoder",),
    "make_config": ("MakeConfig",),
    "making": ("make_world",),
    "measuring.heldout": ("cut_clips",),
    "measuring.dreaming": ("rollout_quality",),
    "measuring.likeness": ("compare",),
    "measuring.report": ("Report",),
    "measuring.settings": ("EvaluateConfig",),
    "evaluation": ("evaluate",),
    "benchmark": ("Bench", "BenchConfig", "bench"),
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_PUBLIC)

_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").exists() and (_root / "envs" / "__init__.py").exists():
    __path__.append(str(_root))  # a checkout that is not installed finds worldsim.envs and .configs

_ENVS = {
    "Drive-v0": {"entry_point": "worldsim.envs.drive:DriveEnv", "max_episode_steps": 1000},
    "Doom-v0": {"entry_point": "worldsim.envs.doom:DoomEnv", "max_episode_steps": 525},
    "Filmed-v0": {"entry_point": "worldsim.filmed:open_filmed"},
    "World-v0": {
        "entry_point": "worldsim.env:WorldEnv",
        "vector_entry_point": "worldsim.vector_env:WorldVectorEnv",
    },
}
for _name, _how in _ENVS.items():
    if f"worldsim/{_name}" not in gymnasium.registry:
        gymnasium.register(f"worldsim/{_name}", **_how)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'worldsim' has no attribute {name!r}")
    value = getattr(import_module(f"worldsim.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals() | _PUBLIC)
