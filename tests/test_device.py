"""A world works on another device than the CPU."""

import subprocess
import sys
from pathlib import Path


def test_nothing_mixes_devices():
    """In a process of its own: torch learns at its first backward pass what devices there are."""
    script = Path(__file__).with_name("other_device.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(script)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=600, cwd=script.parents[1]
    )
    assert run.returncode == 0, run.stdout[-6000:]
