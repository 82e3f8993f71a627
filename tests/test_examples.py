"""Every example runs to its end, as a user would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = {
    "play.py": lambda world, out: [world],
    "gym_loop.py": lambda world, out: [world, "20"],
    "own_env.py": lambda world, out: ["6", out],
    "track_driver.py": lambda world, out: ["20"],
    "by_turns.py": lambda world, out: ["own_env:Ball", "2", "0.01", "0.01", out],
}


def test_every_example_is_run_here():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(RUN)


@pytest.mark.parametrize("name", RUN)
def test_example_runs_to_its_end(name, tiny_world_path, tmp_path):
    arguments = RUN[name](str(tiny_world_path), str(tmp_path / "own"))
    env = os.environ | {"SDL_VIDEODRIVER": "dummy", "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
