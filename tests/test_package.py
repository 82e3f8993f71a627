"""What is installed: light to import, alone in its names, whole in the wheel."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

import worldsim

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


def run_python(code, cwd, python=sys.executable, env=None):
    words = [str(python), "-c", code]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


def project_files():
    """Return the files of the project, without those that git ignores."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


# importing


def test_import_needs_neither_torch_nor_pygame_nor_a_display():
    heavy = ("torch", "pygame", "cv2", "av", "wandb", "transformers", "hydra", "pyarrow", "Box2D")
    code = f"import sys, worldsim; print([name for name in {heavy} if name in sys.modules])"
    assert run_python(code, ROOT) == "[]"


def test_import_changes_nothing_in_the_process():
    code = (
        "import os, gymnasium\n"
        "before = dict(os.environ), os.listdir()\n"
        "import worldsim\n"
        "print(before == (dict(os.environ), os.listdir()))"
    )
    assert run_python(code, ROOT) == "True"


@pytest.mark.parametrize("module", worldsim._MODULES)
def test_every_public_name_imports(module):
    for name in worldsim._MODULES[module]:
        value = getattr(worldsim, name)
        assert value is getattr(import_module(f"worldsim.{module}"), name)
        assert name in worldsim.__all__ and name in dir(worldsim)


def test_no_module_bears_the_name_of_a_public_function():
    """With lazy imports the module would shadow it."""
    modules = {path.stem for path in (ROOT / "worldsim").iterdir()}
    assert not modules & {name for name in worldsim.__all__ if name.islower()}


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        worldsim.nonsense  # noqa: B018


# distributions


def test_no_two_distributions_provide_pygame():
    """Two that write one folder overwrite each other: `pip uninstall pygame` and keep pygame-ce."""
    assert set(packages_distributions()["pygame"]) == {"pygame-ce"}


def test_no_top_level_name_but_worldsim_is_installed():
    assert all(
        name.split(".")[0] == "worldsim" for name in PROJECT["tool"]["setuptools"]["packages"]
    )


def test_every_folder_with_code_is_a_package_of_the_wheel():
    setuptools = PROJECT["tool"]["setuptools"]
    found = set()
    for package, folder in setuptools["package-dir"].items():
        for file in (ROOT / folder).rglob("*.py"):
            parts = file.parent.relative_to(ROOT / folder).parts
            found |= {".".join((package, *parts))} if "worlds" not in parts else set()
    assert found == set(setuptools["packages"])


def test_every_dependency_is_pinned_exactly_once():
    lines = [line for line in CONSTRAINTS.splitlines() if line and not line.startswith("#")]
    pins = [re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.]*)", line) for line in lines]
    assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if not pin]
    names = [pin[1] for pin in pins]
    assert len(set(names)) == len(names)
    extras = PROJECT["project"]["optional-dependencies"]
    for line in PROJECT["project"]["dependencies"] + extras["dev"] + extras["rl"]:
        assert re.match(r"[\w-]+", line)[0] in names, line


def test_no_file_holds_the_host_name_of_a_registry():
    """Where packages and weights come from is the machine's to say."""
    names = ("pypi org", "pythonhosted org", "download pytorch org", "anaconda org", "npmjs org")
    hosts = "|".join(name.replace(" ", r"\.") for name in names)
    pattern = re.compile(rf"\b({hosts})\b".encode(), re.IGNORECASE)
    text = [path for path in project_files() if path.suffix not in (".safetensors", ".gif", ".mp4")]
    held = {str(path.relative_to(ROOT)) for path in text if pattern.search(path.read_bytes())}
    assert not held


# the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the project, so that the checkout stays as it is."""
    source = tmp_path_factory.mktemp("source")
    for path in project_files():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    out = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    words += ["-w", str(out), str(source)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return next(out.glob("worldsim_sdk-*.whl"))


@pytest.mark.slow
def test_wheel_holds_all_code_every_yaml_and_every_world(wheel):
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = set()
    for name in (str(path.relative_to(ROOT)) for path in project_files()):
        if name.startswith(("worldsim/", "envs/", "configs/")):
            wanted.add(name if name.startswith("worldsim/") else f"worldsim/{name}")
    assert held == wanted
    assert wheel.stat().st_size < 100e6


@pytest.mark.slow
def test_wheel_works_outside_the_checkout(wheel, tmp_path):
    """Installed in a new environment that sees the packages of this one, but not the checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run_python(ask, tmp_path, python))
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel]
    subprocess.run(words, check=True, capture_output=True)
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "here.pth").write_text("\n".join(here) + "\n")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = """
from pathlib import Path
import worldsim, worldsim.configs, worldsim.envs.drive
from worldsim.commands import COMMANDS
from worldsim.overrides import compose_raw, group_options

for name, command in COMMANDS.items():
    compose_raw(command.schema, (), name.replace(" ", "_"))
sizes = group_options("model")
for size in sizes:
    compose_raw(COMMANDS["train"].schema, [f"model={size}"], "train")
files = worldsim.__file__, worldsim.envs.drive.__file__, worldsim.configs.__file__
print(*sizes, all(Path(file).is_relative_to(SITE) for file in files))
"""
    said = run_python(code.replace("SITE", repr(str(site))), tmp_path, python, env)
    sizes = sorted(path.stem for path in (ROOT / "configs" / "model").glob("*.yaml"))
    assert said.split() == [*sizes, "True"]
    version = subprocess.run(
        [python, "-m", "worldsim", "--version"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert version.stdout == f"worldsim {worldsim.__version__}\n"
