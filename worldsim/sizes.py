"""The sizes of a world: `tiny`, `quick`, `small`, `base`, or an architecture of one's own."""

from dataclasses import dataclass, field

from worldsim.architecture import DynamicsConfig
from worldsim.limits import check_choice
from worldsim.tokenizer import TokenizerConfig


@dataclass
class ModelConfig:
    """Architecture of both halves of a world."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)


def model_config(name: str) -> ModelConfig:
    """Read a size (`tiny`, `quick`, `small`, `base`) from `worldsim/configs/model`.

    Raises:
        ValueError: If there is no such size.
    """
    from importlib.resources import files

    from omegaconf import OmegaConf

    from worldsim.overrides import CONFIGS, group_options

    check_choice("model", name, group_options("model"))
    text = OmegaConf.create((files(CONFIGS) / f"model/{name}.yaml").read_text())
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ModelConfig), text))
