"""What the documentation says can be done, can be done; what it points to is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import worldsim

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def run_python(words, cwd):
    env = os.environ | {"OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text())
    here = (ROOT / page).parent
    assert [link for link in links if "://" not in link and not (here / link).exists()] == []


@pytest.mark.parametrize("page", ["concepts", "environments", "films"])
def test_the_snippets_of_a_page_run_one_after_another(page, tmp_path):
    snippets = re.findall(
        r"^```python\n(.*?)^```", (ROOT / f"docs/{page}.md").read_text(), re.M | re.S
    )
    (tmp_path / "page.py").write_text("\n".join(snippets))
    run_python(["page.py"], tmp_path)


def test_the_reference_holds_every_public_name_and_warns_of_nothing(tmp_path):
    run_python([ROOT / "docs/reference.py", tmp_path], ROOT)
    front = (tmp_path / "worldsim.html").read_text()
    for module, names in worldsim._MODULES.items():
        page = f"worldsim/{module.replace('.', '/')}.html"
        shown = (tmp_path / page).read_text()
        for name in names:
            assert f'href="{page}#{name}"' in front
            assert f'<section id="{name}">' in shown
