"""What worlds of older formats have in place of what is there now: they load, and play as they did.

| up to | there was |
| --- | --- |
| 1 | reward, ending and policy of past frames, told apart from those that are drafted |
| 2 | no gist of the prompt, no fresh noise between the passes of a first frame |
| 3, 4 | latent cells of 8x8 pixels |
| 5 | one painter and one condition for all frames |
| 6 | no chance in frames of a single step |
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FORMAT_VERSION = 7


def update_config(raw: dict[str, Any], version: int, path: Path) -> None:
    """Say in a config of an older format what has been a choice since then.

    Args:
        raw: JSON of a `WorldConfig`, changed in place.
        version: Its format.
        path: Where it stands.

    Raises:
        ValueError: If it is that of an experiment which was given up.
    """
    dynamics, tokenizer = raw.get("dynamics"), raw.get("tokenizer")
    if not isinstance(dynamics, dict) or not isinstance(tokenizer, dict):
        return
    if version == 4 and dynamics.pop("carry", 0):
        raise ValueError(
            f"worlds that carry frames along were an experiment, got one in {path}; train it anew "
            "from its recordings"
        )
    if version < 5:
        tokenizer.setdefault("stride", 8)
        dynamics.setdefault("group", dynamics.get("cells", 128) // 8)
    if version < 6:
        dynamics.setdefault("apart", False)
    if version < 7:
        dynamics.setdefault("chance", 0)


def update_weights(model: nn.Module, state: dict[str, Tensor], prefix: str, *_) -> None:
    """Name a `Dynamics`' weights as they are named now; a hook of `load_state_dict`."""
    if f"{prefix}near.gist.weight" in state or f"{prefix}embed.weight" not in state:
        return
    state.setdefault(f"{prefix}gist.weight", torch.zeros_like(model.near.gist.weight))
    for name in [name.removeprefix(prefix) for name in state]:
        first = name.partition(".")[0]
        if first in ("spread", "tail", "head", "copy"):
            state[f"{prefix}painters.0.{name}"] = state.pop(prefix + name)
        elif hasattr(model.near, first):
            for half in ("near", "far") if model.cfg.apart else ("near",):
                state[f"{prefix}{half}.{name}"] = state[prefix + name]
            del state[prefix + name]
    both = state[f"{prefix}embed.weight"]
    halves = both.split([both.shape[1] - model.cfg.channels, model.cfg.channels], 1)
    for name, half in zip(("embed", "embed_itself"), halves, strict=True):
        state[f"{prefix}{name}.weight"] = half
