"""Worlds found by name, in a folder or on the Hub, and read from disk."""

import json
from difflib import get_close_matches
from pathlib import Path

import gymnasium
import torch

from worldsim.datasets.subsets import UNKNOWN
from worldsim.devices import choose_device, fast_dtype
from worldsim.dynamics import Dynamics
from worldsim.files import read_metadata, read_tensors
from worldsim.formats import FORMAT_VERSION, update_config
from worldsim.limits import check_choice
from worldsim.starts import Starts
from worldsim.tokenizer import Tokenizer
from worldsim.world import World, WorldConfig

SHIPPED = Path(__file__).parent / "worlds"
DTYPES = torch.float32, torch.bfloat16, torch.float16


def list_worlds() -> list[str]:
    """Return the names of the shipped worlds."""
    if not SHIPPED.is_dir():
        return []
    return sorted(folder.name for folder in SHIPPED.iterdir() if (folder / "config.json").exists())


@torch.inference_mode(False)  # else what is loaded within it could never be trained
def load(
    name: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    *,
    compile: bool = False,
) -> World:
    """Load a world.

    Args:
        name: A shipped world, a folder, or a Hub id `owner/name` (needs `huggingface_hub`).
        device: CUDA if there is some, else CPU.
        dtype: bfloat16 where the device multiplies it fast, else float32.
        compile: Whether steps run compiled: faster by a third for one world on a CPU, after half
            a minute or more at the first step (see `worldsim.compiling`).

    Raises:
        FileNotFoundError: If there is no such world, or a file of it is missing.
        ValueError: If a file is damaged or a newer worldsim wrote it, `device` is not here, or
            `dtype` is none that worlds run in.
    """
    folder, device = find_world(name), choose_device(device)
    dtype = dtype or fast_dtype(device)
    check_choice("dtype", dtype, DTYPES)
    cfg = read_config(folder / "config.json")
    tokenizer, dynamics = Tokenizer(cfg.tokenizer), Dynamics(cfg.dynamics)
    for model, file in ((tokenizer, "tokenizer.safetensors"), (dynamics, "dynamics.safetensors")):
        _read_weights(model, folder / file)
        model.to(device, dtype).requires_grad_(False)
    tokenizer.to(memory_format=torch.channels_last)
    starts = Starts.read(folder / "starts.safetensors")
    world = World(cfg, tokenizer, dynamics, starts, recordings_of(folder))
    if compile:
        from worldsim.compiling import compiled

        return compiled(world)
    return world


def as_world(world: str | Path | World, device: str | torch.device | None = None) -> World:
    """Return a world that is there already, or load it.

    Raises:
        ValueError: If it is there, but on another device.
    """
    if not isinstance(world, World):
        return load(world, device)
    if device and choose_device(device) != world.device:
        raise ValueError(
            f"`device` must be that of the given `World`, {world.device}, got "
            f"{str(device)!r}; load the world there"
        )
    return world


def name_of(world: str | Path) -> str:
    """Return what to call a world by its name or folder; `runs/a/world` is that of the run `a`."""
    path = Path(world)
    return path.parent.name if path.name == "world" and path.parent.name else path.name


def find_here(name: str | Path) -> Path | None:
    """Return the folder of a world, of a run that holds one, or of a shipped one, if there is."""
    here = Path(name).expanduser()
    folders = here, here / "world", SHIPPED / str(name)
    return next((folder for folder in folders if (folder / "config.json").exists()), None)


def find_world(name: str | Path) -> Path:
    """Return the folder of a world, or of the world that a training run holds.

    Raises:
        FileNotFoundError: If there is none.
    """
    if here := find_here(name):
        return here
    if Path(name).exists():
        raise FileNotFoundError(
            f"a world's folder must hold config.json, got {str(name)!r} without; a training run "
            "has a world once it is through"
        )
    shipped = ", ".join(list_worlds()) or "none"
    rule = f"`world` must be a shipped world ({shipped}), a folder or a Hub id, got {str(name)!r}"
    parts = str(name).split("/")
    if len(parts) != 2 or not all(parts) or Path(parts[0]).is_dir():  # no id of the Hub
        near = get_close_matches(str(name), list_worlds(), 1)
        way = f"did you mean {near[0]!r}?" if near else "train one with `worldsim train`"
        raise FileNotFoundError(f"{rule}; {way}{_or_play(str(name))}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise FileNotFoundError(
            f"{rule}, which is no folder; for the Hub, `pip install worldsim-sdk[hub]`"
        ) from error
    try:
        return Path(snapshot_download(str(name)))
    except Exception as error:  # whatever the network and the Hub come up with
        said = str(error).partition("\n")[0]
        raise FileNotFoundError(
            f"{rule}, which is no folder, and the Hub said: {said}; check the name and the network"
            f"{_or_play(str(name))}"
        ) from error


def _or_play(name: str) -> str:
    """Say what to do with the name of an env where a world's was wanted."""
    is_env = name in gymnasium.registry or name.startswith("ALE/")
    return f", or play the env itself with env={name}" if is_env else ""


def read_config(path: Path) -> WorldConfig:
    """Read a world's config.json.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it describes no world, or one of a newer worldsim.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} must exist and does not; copy the world again")
    try:
        raw = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} must be a whole JSON object, got: {error}; copy the world again"
        ) from error
    version = raw.get("format_version")
    if version not in range(1, FORMAT_VERSION + 1):
        raise ValueError(
            f"this worldsim reads worlds of format 1 to {FORMAT_VERSION}, got {version!r} in "
            f"{path}; upgrade worldsim-sdk"
        )
    update_config(raw, version, path)
    try:
        return WorldConfig(**raw)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} must describe a world, got: {error}; copy the world again"
        ) from error


def recordings_of(folder: Path) -> list[str]:
    """Return the tags of the recordings that a world learned from."""
    about = read_metadata(folder / "dynamics.safetensors")
    return about.get("learned_from", UNKNOWN).split()


def _read_weights(model: torch.nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(read_tensors(path)[0])
    except RuntimeError as error:
        raise ValueError(
            f"{path} must hold the weights that config.json describes, got: "
            f"{' '.join(str(error).split())[:300]}; copy the world again"
        ) from error
