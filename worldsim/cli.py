"""`worldsim <command> [key=value ...]`."""

import ctypes
import os
import sys
from collections.abc import Sequence

USAGE = """\
worldsim: turn environments into neural simulators

usage: worldsim <command> [key=value ...]
"""
OPTIONS = """\
  --help       list a command's keys, with types and defaults
  --show       print the settings that a command would run with
  --traceback  show where an error comes from
  --version"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0, 1 if it failed, 2 if it was asked wrongly."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--version" in words:
        from worldsim import __version__

        print(f"worldsim {__version__}")
        return 0
    from worldsim.commands import COMMANDS

    name = (
        next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None) if words else None
    )
    if name is None:
        return _list_commands(words)
    words = words[len(name.split()) :]
    flags = {word for word in words if word in ("--help", "-h", "--show", "--traceback")}
    words = [word for word in words if word not in flags]
    if flags & {"--help", "-h"}:
        print(command_help(name))
        return 0
    prepare_process()
    try:
        return _run(name, words, flags)
    except KeyboardInterrupt as stop:
        print(f"worldsim {name}: {_said(stop) or 'interrupted'}", file=sys.stderr)
        return 130


def _run(name: str, words: list[str], flags: set[str]) -> int:
    from gymnasium.error import Error as EnvError

    from worldsim.commands import COMMANDS
    from worldsim.overrides import compose_config, compose_raw

    command, stem = COMMANDS[name], name.replace(" ", "_")
    try:
        if "--show" in flags:
            from omegaconf import OmegaConf

            print(OmegaConf.to_yaml(compose_raw(command.schema, words, stem)), end="")
            return 0
        cfg = compose_config(command.schema, words, stem)
    except (ValueError, TypeError, OSError) as error:
        return _complain(name, error, flags, status=2)
    try:
        return command.run(cfg) or 0
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError, EnvError) as error:
        return _complain(name, error, flags, status=1)


def _complain(name: str, error: Exception, flags: set[str], status: int) -> int:
    """Print an error, in one line if it can be; raise it where a traceback was asked for."""
    if "--traceback" in flags:
        raise error
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    line = f"worldsim {name}: {_said(error) or type(error).__name__}"
    print(error if hasattr(error, "faults") else line, file=sys.stderr)  # faults fill a table
    return status


def _said(error: BaseException) -> str:
    """Return an error's message and notes in one line."""
    parts = (str(part) for part in (error, *getattr(error, "__notes__", ())))
    return " ".join("; ".join(part for part in parts if part).split())


def _list_commands(words: list[str]) -> int:
    """Print all commands, or why there is none of this name."""
    from worldsim.commands import COMMANDS

    if not words or words[0] in ("--help", "-h", "help"):
        lines = [f"  {name:<13}{command.about}" for name, command in COMMANDS.items()]
        print("\n".join([USAGE, *lines, "", OPTIONS]))
        return 0 if words else 2
    import difflib

    begun = [name for name in COMMANDS if name.split()[0] == words[0]]
    near = begun or difflib.get_close_matches(words[0], COMMANDS, n=1)
    if begun and len(words) > 1 and words[1] in ("--help", "-h"):
        print("\n".join(f"  worldsim {name:<14}{COMMANDS[name].about}" for name in begun))
        return 0
    way = f"did you mean {' or '.join(near)}?" if near else "worldsim --help lists all"
    known = ", ".join(COMMANDS)
    print(
        f"worldsim: the command must be one of {known}, got {' '.join(words[:2])!r}; {way}",
        file=sys.stderr,
    )
    return 2


def command_help(name: str) -> str:
    """Return a command's keys with their types, defaults and meanings."""
    from omegaconf import OmegaConf

    from worldsim.commands import COMMANDS
    from worldsim.overrides import compose_raw, group_options, schema_keys

    command = COMMANDS[name]
    cfg = compose_raw(command.schema, (), name.replace(" ", "_"))
    rows = []
    for group in sorted({key.split(".")[0] for key in cfg if group_options(str(key))}):
        rows.append((group, " | ".join(group_options(group)), "", "A size; its keys follow."))
    for key in schema_keys(command.schema):
        needed = OmegaConf.is_missing(*_parent(cfg, key.name))
        default = "(needed)" if needed else _show(OmegaConf.select(cfg, key.name))
        rows.append((key.name, key.type_name, default, key.about))
    wide = [max(len(row[i]) for row in rows) + 2 for i in range(3)]
    lines = ["  " + "".join(row[i].ljust(wide[i]) for i in range(3)) + row[3] for row in rows]
    example = f"\nexample: worldsim {name} {command.example}" if command.example else ""
    head = f"worldsim {name}: {command.about}\n\nusage: worldsim {name} [key=value ...]{example}\n"
    return "\n".join([head, *(line.rstrip() for line in lines)])


def _parent(cfg, name: str) -> tuple:
    """Return the node that holds key `name`, and the last part of the name."""
    *path, leaf = name.split(".")
    for part in path:
        cfg = cfg[part]
    return cfg, leaf


def _show(value) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "''" if value == "" else str(value)


def prepare_process() -> None:
    """Make large arrays cheap and idle threads quiet; before torch is imported.

    glibc maps and unmaps every large activation anew; with high thresholds it keeps them, which
    makes training up to 2.4 times faster. Threads that wait for each other spin; on few cores they
    had better sleep.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
