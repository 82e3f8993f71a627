"""From `key=value` words to a checked config dataclass, by way of Hydra.

The dataclass is the schema: its fields are the keys, its attribute docstrings are the help. What a
word names or holds is checked against it here, so that a mistake is answered with the rule, the
value and a way out rather than with a traceback.
"""

import ast
import difflib
import inspect
import os
import re
import textwrap
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from importlib.resources import files
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

CONFIGS = "worldsim.configs"


@dataclass(frozen=True)
class Key:
    """One key that a command takes.

    Attributes:
        name: Dotted path, such as `wandb.mode`.
        kind: Its type.
        about: Docstring of the field, may be empty.
    """

    name: str
    kind: Any
    about: str

    @property
    def is_text(self) -> bool:
        """Whether a value is taken letter by letter."""
        return str in _options(self.kind)

    @property
    def type_name(self) -> str:
        """Its type as people read it."""
        if get_origin(self.kind) is tuple:
            return f"list of {_name(get_args(self.kind)[0])}s".replace("texts", "text")
        return " | ".join("null" if k is type(None) else _name(k) for k in _options(self.kind))


def schema_keys(schema: type, prefix: str = "") -> Iterator[Key]:
    """Yield the keys of a config dataclass, its own before inherited ones, nested ones dotted."""
    hints, docs = get_type_hints(schema), _field_docs(schema)
    own = [name for name in schema.__dict__.get("__annotations__", {}) if name in hints]
    fields = schema.__dataclass_fields__
    for name in [*own, *(name for name in fields if name not in own)]:
        if name not in fields:
            continue
        if is_dataclass(hints[name]):
            yield from schema_keys(hints[name], f"{prefix}{name}.")
        else:
            yield Key(prefix + name, hints[name], docs.get(name, ""))


def compose_config(schema: type, words: Sequence[str] = (), name: str = "") -> Any:
    """Build a `schema` from overrides.

    Args:
        schema: Config dataclass.
        words: Overrides, `key=value`.
        name: Of the YAML in `worldsim.configs`; without such a file the schema's defaults hold.

    Raises:
        ValueError: If a key is unknown, a value has the wrong type, or a needed key is missing.
    """
    try:
        return OmegaConf.to_object(compose_raw(schema, words, name))
    except MissingMandatoryValue as error:
        raise ValueError(
            f"`{error.full_key}` must be given, got nothing; add {error.full_key}=..."
        ) from None


def compose_raw(schema: type, words: Sequence[str] = (), name: str = "") -> DictConfig:
    """Build the config of `compose_config` and leave it unchecked for missing values."""
    keys = {key.name: key for key in schema_keys(schema)}
    overrides = [_override(word, keys) for word in words]
    ConfigStore.instance().store(schema.__name__, schema)
    known = (files(CONFIGS) / f"{name}.yaml").is_file()
    try:
        with initialize_config_module(CONFIGS, version_base=None):
            return compose(name if known else schema.__name__, overrides)
    except MissingConfigException as error:
        group, _, value = str(error.missing_cfg_file).rpartition("/")
        raise ValueError(
            f"`{group}` must be one of {', '.join(group_options(group))}, got {value!r}"
        ) from None
    except (HydraException, ConfigCompositionException, OmegaConfBaseException) as error:
        raise ValueError(_explain(error, words, keys)) from None


def group_options(group: str) -> list[str]:
    """Return the YAML files of a config group, `["base", "quick", ...]` for `model`."""
    folder = files(CONFIGS) / group
    if not folder.is_dir():
        return []
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def _override(word: str, keys: dict[str, Key]) -> str:
    """Check the key of `key=value` and quote the value, so that commas in prompts are commas."""
    name, equals, value = word.partition("=")
    if not equals or name.startswith("-"):
        bare = name.lstrip("-").replace("-", "_")
        way = f"{bare}={value or '...'}" if bare in keys else f"{next(iter(keys), 'key')}=..."
        raise ValueError(
            f"settings are written key=value, got {word!r}; write {way}, or --help for all keys"
        )
    if name not in keys:
        holder = next((k for k in keys if name.startswith(f"{k}.") and _is_dict(keys[k])), None)
        if holder:
            odd = re.search(r"[,(){}'\"=:]", value) and value[:1] not in ("[", "{", "'", '"')
            return f"+{name}={_quote(value) if odd else value}"
        if group_options(name):
            return word
        raise ValueError(_unknown(name, list(keys)))
    key = keys[name]
    if key.is_text and not (value == "null" and type(None) in _options(key.kind)):
        value = _quote(os.path.expanduser(value) if value.startswith("~/") else value)
    elif get_origin(key.kind) is tuple:
        value = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        if str in get_args(key.kind):
            parts = re.findall(r"'[^']*'|\"[^\"]*\"|[^,]+", value)
            value = ",".join(_quote(part.strip()) for part in parts)
        value = f"[{value}]"
    elif _is_dict(key) and value.startswith("{"):
        return f"+{name}={value}"
    elif key.kind is bool and value.lower() not in ("true", "false"):  # OmegaConf takes 2 for true
        raise ValueError(f"`{name}` must be {key.type_name}, got {value!r}")
    return f"{name}={value}"


def _unknown(name: str, keys: list[str]) -> str:
    leaf = name.rpartition(".")[2]
    near = [key for key in keys if key.rpartition(".")[2] == leaf]
    near += difflib.get_close_matches(name, keys, n=1, cutoff=0.5)
    way = f"did you mean `{near[0]}`?" if near else f"they are {', '.join(keys)}"
    return f"every key must be one that the command knows, got {name!r}; {way} (--help lists all)"


def _quote(value: str) -> str:
    """Quote text for Hydra; a pair of quotes that is already there is kept."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value
    value = re.sub(r"(\\*)\$\{", lambda m: 2 * m[1] + r"\${", value)  # no interpolation
    value = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + (r"\'" if m[2] else ""), value)
    return f"'{value}'"


def _explain(error: Exception, words: Sequence[str], keys: dict[str, Key]) -> str:
    """Say in one line which override is wrong, and what it should be."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    full_key = re.sub(r"\[.*", "", str(getattr(cause, "full_key", "") or ""))
    for word in words:
        name, _, value = word.partition("=")
        if name in keys and (name == full_key or (not full_key and word in str(error))):
            return f"`{name}` must be {keys[name].type_name}, got {value!r}"
        if not full_key and word in str(error):
            return f"settings are written key=value, got {word!r}; put odd values in quotes"
        nested = [key.rpartition(".")[2] for key in keys if key.startswith(f"{name}.")]
        if nested and full_key.startswith(name):
            return (
                f"`{name}` holds {', '.join(nested)}, got {value!r}; write {name}.{nested[0]}=..."
            )
    return str(error).splitlines()[0]


def _field_docs(schema: type) -> dict[str, str]:
    """Read the docstring under each field, which Python itself forgets."""
    docs: dict[str, str] = {}
    for cls in reversed(schema.__mro__[:-1]):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
        except (OSError, TypeError, IndexError):  # no source at hand: help without words
            continue
        for field, below in zip(body, body[1:], strict=False):
            text = below.value if isinstance(below, ast.Expr) else None
            is_docstring = isinstance(text, ast.Constant) and isinstance(text.value, str)
            if isinstance(field, ast.AnnAssign) and is_docstring:
                docs[field.target.id] = " ".join(text.value.split())
    return docs


def _options(kind: Any) -> tuple:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _is_dict(key: Key) -> bool:
    return key.kind is dict or get_origin(key.kind) is dict


def _name(kind: Any) -> str:
    return {str: "text", int: "whole number", float: "number", bool: "true | false"}.get(
        kind,
        "mapping" if kind is dict or get_origin(kind) is dict else getattr(kind, "__name__", ""),
    )
