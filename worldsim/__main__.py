"""`python -m worldsim` is `worldsim`, also under `torchrun -m worldsim`."""

import sys

from worldsim.cli import main

if __name__ == "__main__":
    sys.exit(main())
