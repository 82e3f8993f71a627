"""Build the reference of everything public, from the docstrings.

python docs/reference.py [folder]

The front page lists all public names; each module that they come from has a page, which shows them
and nothing else of it.
"""

import inspect
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc

import worldsim


def name_public() -> list[str]:
    """Tell pdoc what is public, and write the front page; return the modules to show."""
    paths = ["worldsim", *(f"worldsim.{module}" for module in worldsim._MODULES)]
    rows = ["| `worldsim.` | |", "| --- | --- |"]
    for path, names in zip(paths[1:], worldsim._MODULES.values(), strict=True):
        import_module(path).__all__ = list(names)
        rows += [f"| [{name}]({path.replace('.', '/')}.html#{name}) | {_about(name)} |"
                 for name in names]  # fmt: skip
    worldsim.__all__ = []  # each name has its place on its module's page
    worldsim.__doc__ = "\n\n".join([inspect.getdoc(worldsim), "\n".join(rows)])
    return paths


def build(folder: Path) -> None:
    """Write the pages; a warning is an error."""
    warnings.simplefilter("error")
    pdoc.render.configure(
        docformat="google", show_source=False, template_directory=Path(__file__).parent
    )
    pdoc.pdoc(*name_public(), output_directory=folder)


def _about(name: str) -> str:
    """Return the first line of what is said of a public name; a constant's kind says nothing."""
    value = getattr(worldsim, name)
    is_documented = inspect.isclass(value) or inspect.isfunction(value)
    return inspect.getdoc(value).split("\n")[0] if is_documented else ""


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else "out/docs"))
