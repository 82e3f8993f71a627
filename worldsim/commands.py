"""What `worldsim <command>` can do: a table of commands, each a config and a function.

Nothing is imported before a command is chosen. Adding a command is adding an entry to `COMMANDS`.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        about: What it does, for the list of commands.
        config: Its config dataclass, `module:Class`.
        function: `module:function`, takes the config; what it returns is the exit status, if any.
        example: Overrides that show what it is for.
    """

    about: str
    config: str
    function: str
    example: str = ""

    @property
    def schema(self) -> type:
        """The config dataclass."""
        return _find(self.config)

    def run(self, cfg: Any) -> int | None:
        """Do it."""
        return _find(self.function)(cfg)


def _find(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


COMMANDS = {
    "play": Command(
        "drive through a world in a window; without a display, film it",
        "worldsim.viewer:PlayConfig",
        "worldsim.commanding.worlds:play",
        'world=drive prompt="a desert road at sunset"',
    ),
    "record": Command(
        "record episodes of an env under a policy",
        "worldsim.commanding.data:RecordConfig",
        "worldsim.commanding.data:record",
        "out=data/drive episodes=100 workers=2",
    ),
    "data inspect": Command(
        "describe a data set: features, episodes, captions, actions",
        "worldsim.commanding.data:InspectConfig",
        "worldsim.commanding.data:inspect_data",
        "path=data/drive",
    ),
    "data preview": Command(
        "draw a data set: a contact sheet or a film, with the actions drawn in",
        "worldsim.commanding.data:PreviewConfig",
        "worldsim.commanding.data:preview_data",
        "path=data/drive out=out/preview.mp4",
    ),
    "data convert": Command(
        "convert a folder of videos, or anybody's LeRobot v3 data set",
        "worldsim.commanding.data:ConvertConfig",
        "worldsim.commanding.data:convert_data",
        "path=videos out=data/mine fps=15",
    ),
    "data merge": Command(
        "join data sets into a new one",
        "worldsim.commanding.data:MergeConfig",
        "worldsim.commanding.data:merge_data",
        "paths=data/a,data/b out=data/both",
    ),
    "data split": Command(
        "part a data set: episodes to learn from, episodes to judge by",
        "worldsim.commanding.data:SplitConfig",
        "worldsim.commanding.data:split_data",
        "path=data/drive test=0.1",
    ),
    "train": Command(
        "train a stage of a world: tokenizer, dynamics, decoder; resumes what was interrupted",
        "worldsim.launch:LaunchConfig",
        "worldsim.launch:launch",
        "stage=tokenizer data=data/drive out=runs/tok model=small",
    ),
    "make": Command(
        "make a playable world of any env: record, train, measure; resumes what was interrupted",
        "worldsim.make_config:MakeConfig",
        "worldsim.commanding.worlds:make",
        "env=ALE/Breakout-v5 out=worlds/breakout minutes=30",
    ),
    "generate": Command(
        "film a world: from text, from a picture, before, after or between given frames",
        "worldsim.commanding.film:GenerateConfig",
        "worldsim.commanding.film:generate",
        'prompt="a city street in the rain"',
    ),
    "evaluate": Command(
        "measure a world on recordings that it has not seen, and write a report",
        "worldsim.measuring.settings:EvaluateConfig",
        "worldsim.commanding.worlds:evaluate",
        "world=drive data=data/drive-test out=report",
    ),
    "agent": Command(
        "let an agent learn in a world, then judge it there and in the real env",
        "worldsim.commanding.agents:AgentConfig",
        "worldsim.commanding.agents:agent",
        "world=worlds/ball minutes=10",
    ),
    "bench": Command(
        "time each part of a world on this machine",
        "worldsim.benchmark:BenchConfig",
        "worldsim.commanding.worlds:bench",
        "world=drive",
    ),
    "doctor": Command(
        "look at this machine: what is there, what is missing, what to do about it",
        "worldsim.doctor:DoctorConfig",
        "worldsim.doctor:report",
    ),
}
