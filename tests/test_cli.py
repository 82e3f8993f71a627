"""`worldsim <command> [key=value ...]`: what is asked wrongly is refused before any work starts."""

import subprocess
import sys
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from gymnasium.error import NameNotFound
from omegaconf import OmegaConf

from worldsim import __version__
from worldsim.cli import main
from worldsim.commanding.film import GenerateConfig
from worldsim.commands import COMMANDS
from worldsim.overrides import compose_config, group_options, schema_keys

CONFIGS = Path(str(files("worldsim.configs")))
NEEDED = {"train": ["stage=tokenizer", "data=x"]}  # what a command cannot be composed without
YAMLS = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml"))


@dataclass
class PaintConfig:
    """A command's settings, of every kind of value."""

    prompt: str | None = None
    """What to paint."""
    title: str = "untitled"
    strokes: int = 3
    size: tuple[int, int] = (4, 4)
    colours: tuple[str, ...] = ()
    wet: bool = False
    kwargs: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def _leave_process_alone(monkeypatch):
    monkeypatch.setattr("worldsim.cli.prepare_process", lambda: None)


@pytest.fixture
def doctor(monkeypatch):
    """Replace what `worldsim doctor` does, keeping its settings."""

    def use(run):
        monkeypatch.setattr("worldsim.doctor.report", run)

    return use


def raising(error):
    def run(cfg):
        raise error

    return run


def one_line(text):
    assert text.count("\n") == 1 and text.endswith("\n"), text
    return text


# what is asked


def test_version_is_told():
    words = [sys.executable, "-m", "worldsim", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=CONFIGS.parent)
    assert done.stdout == f"worldsim {__version__}\n"


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out and command.about in out for name, command in COMMANDS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_lists_every_key(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]
    groups = [group for group in listed if group_options(group)]
    assert listed == [*groups, *(key.name for key in schema_keys(COMMANDS[name].schema))]


@pytest.mark.parametrize("name", COMMANDS)
def test_example_in_the_help_is_accepted(name):
    import shlex

    command = COMMANDS[name]
    compose_config(command.schema, shlex.split(command.example), name.replace(" ", "_"))


def test_show_prints_settings_that_can_be_read_back(capsys):
    assert main(["doctor", "disk=2.5", "--show"]) == 0
    assert OmegaConf.create(capsys.readouterr().out) == {"measure": True, "disk": 2.5}


# what is asked wrongly: status 2, one line


@pytest.mark.parametrize(
    "words, said",
    [
        (["dctor"], "did you mean doctor?"),
        (["data"], "did you mean data inspect or data preview or data convert"),
        (["doctor", "dsk=1"], "did you mean `disk`?"),
        (["doctor", "disk=much"], "`disk` must be number, got 'much'"),
        (["doctor", "disk=-1"], "`disk` must be at least 0, got -1.0"),
        (["doctor", "measure=maybe"], "`measure` must be true | false, got 'maybe'"),
        (["doctor", "measure=2"], "`measure` must be true | false, got '2'"),
        (["doctor", "measure"], "settings are written key=value, got 'measure'"),
        (["play", "--frames=3"], "write frames=3"),
        (["play", "seed="], "`seed` must be whole number, got ''"),
        (["play", "pixels=blurred"], "`pixels` must be one of"),
        (["data", "inspect"], "`path` must be given, got nothing; add path=..."),
        (["train", "data=x"], "`stage` must be given"),
        (["train", "data=x", "stage=tokenizer", "model=huge"], "`model` must be one of base,"),
        (["train", "data=x", "stage=tokenizer", "model.dynamics.dim=1.5"], "must be whole number"),
        (["train", "data=x", "stage=tokenizer", "wandb=off"], "did you mean `wandb.mode`?"),
        (["generate", "task=text"], "task=text needs `prompt`"),
        (["generate", "prompt=a", "video=b.mp4"], "`video` is for task=extend or infill or edit"),
        (["generate", "task=extend", "video=b.mp4", "frames=128"], "`frames` is for task=text or"),
        (["generate", "prompt=a", "strength=0.5"], "`strength` is for task=edit"),
        (["generate", "task=loop", "expand=true"], "`expand` is for a `prompt`"),
        (["play", "keys=nowhere.json"], "`keys` must be a JSON file"),
    ],
)
def test_wrong_words_are_refused_in_one_line_with_a_way_out(words, said, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert said in one_line(err) and not out


@pytest.mark.parametrize(
    "words, said",
    [
        (["play", "world=CartPole-v1"], "play the env itself with env=CartPole-v1"),
        (["play", "world=nope", "web=true"], "`world` must be a shipped world"),
        (["play", "world=drvie"], "did you mean 'drive'?"),
        (["evaluate", "world=nope", "data=nowhere"], "`world` must be a shipped world"),
    ],
)
def test_a_world_that_is_not_there_is_missed_first(words, said, capsys):
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert said in one_line(err) and not out


def test_no_command_lists_them_all_and_is_an_error(capsys):
    assert main([]) == 2
    assert "usage: worldsim <command>" in capsys.readouterr().out


def test_no_work_starts_on_a_wrong_key(doctor):
    doctor(raising(AssertionError("started")))
    assert main(["doctor", "dsk=1"]) == 2


# what fails: status 1, one line


@pytest.mark.parametrize(
    "error, status",
    [
        (ValueError("too\n  wide"), 1),
        (FileNotFoundError("no world"), 1),
        (ImportError("no torch"), 1),
        (NameNotFound("no env"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_failure_is_one_line_and_a_status(error, status, doctor, capsys):
    doctor(raising(error))
    assert main(["doctor"]) == status
    said = " ".join(str(error).split()) or "interrupted"
    assert one_line(capsys.readouterr().err) == f"worldsim doctor: {said}\n"


def test_notes_of_an_interruption_are_told(doctor, capsys):
    stop = KeyboardInterrupt()
    stop.add_note("3 episodes are kept; the same again goes on")
    doctor(raising(stop))
    assert main(["doctor"]) == 130
    assert "3 episodes are kept" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("result, status", [(None, 0), (0, 0), (1, 1)])
def test_status_is_what_the_command_returns(result, status, doctor):
    doctor(lambda cfg: result)
    assert main(["doctor"]) == status


def test_traceback_is_there_for_who_asks(doctor):
    doctor(raising(FileNotFoundError("no world")))
    with pytest.raises(FileNotFoundError, match="no world"):
        main(["doctor", "--traceback"])


def test_our_own_mistakes_are_not_hidden(doctor):
    doctor(raising(AssertionError("a bug")))
    with pytest.raises(AssertionError, match="a bug"):
        main(["doctor"])


def test_missing_data_set_is_a_failure_that_names_the_way_out(tmp_path, capsys):
    assert main(["data", "inspect", f"path={tmp_path / 'none'}"]) == 1
    assert "worldsim record" in one_line(capsys.readouterr().err)


# words become values


@pytest.mark.parametrize(
    "text",
    [
        "a road, at night",
        "it's snowing",
        "1e3",
        "true",
        "[a, b]",
        "{a: b}",
        "key=value",
        "${oc.env:HOME}",
        "back\\",
        "snow\\'s",
        "Straße 雪 # 1",
        " spaces ",
        "",
    ],
)
@pytest.mark.parametrize("key", ["prompt", "title"])
def test_text_is_taken_letter_by_letter(key, text):
    assert getattr(compose_config(PaintConfig, [f"{key}={text}"]), key) == text


@pytest.mark.parametrize(
    "word, key, value",
    [
        ("prompt=null", "prompt", None),
        ("title=null", "title", "null"),
        ("prompt='null'", "prompt", "null"),
        ("strokes=7", "strokes", 7),
        ("size=[5,6]", "size", [5, 6]),
        ("size=5,6", "size", [5, 6]),
        ("colours=[sky blue, Grün/1,a(1)]", "colours", ["sky blue", "Grün/1", "a(1)"]),
        ("colours=red,'1,2'", "colours", ["red", "1,2"]),
        ("colours=[]", "colours", []),
        ("wet=true", "wet", True),
        ("kwargs={a: 1}", "kwargs", {"a": 1}),
        ("kwargs.scene.biome=desert", "kwargs", {"scene": {"biome": "desert"}}),
        ("kwargs.prompt=a city, at (night)", "kwargs", {"prompt": "a city, at (night)"}),
        ("kwargs.size=[64,96]", "kwargs", {"size": [64, 96]}),
    ],
)
def test_word_becomes_a_value_of_the_key_s_type(word, key, value):
    got = getattr(compose_config(PaintConfig, [word]), key)
    assert (list(got) if isinstance(got, tuple) else got) == value


def test_size_and_hidden_frames_of_a_film_are_read_before_it_starts():
    cfg = compose_config(GenerateConfig, ["task=infill", "video=a.mp4", "hide=2:4", "size=96x64"])
    assert cfg.frame_size == (64, 96)
    assert cfg.known(5).tolist() == [True, True, False, False, True]
    with pytest.raises(ValueError, match="within the film's 3 frames, got '2:4'"):
        cfg.known(3)


# the YAML files


def schema_of(stem):
    return next(c.schema for n, c in COMMANDS.items() if n.replace(" ", "_") == stem)


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_composes(name):
    *group, leaf = Path(name).with_suffix("").parts
    stem = leaf if not group else "train"
    words = [f"{group[0]}={leaf}"] if group else []
    schema = schema_of(stem)
    assert isinstance(compose_config(schema, [*NEEDED.get(stem, ()), *words], stem), schema)


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_repeats_no_default(name):
    *group, leaf = Path(name).with_suffix("").parts
    defaults = OmegaConf.structured(schema_of("train" if group else leaf))
    changed = OmegaConf.load(CONFIGS / name)
    changed.pop("defaults", None)
    repeated = [
        key for key, value in _leaves(changed) if value == _select(defaults, [*group, *key])
    ]
    assert not repeated


def _leaves(node, path=()):
    for key, value in OmegaConf.to_container(node).items() if not path else node.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _select(node, path):
    return OmegaConf.select(node, ".".join(path))
