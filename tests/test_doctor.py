"""`worldsim doctor` says what is missing, and is not stopped by it."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from worldsim import doctor
from worldsim.doctor import DoctorConfig, Finding, report

QUICK = DoctorConfig(measure=False)


def look(check, cfg=QUICK):
    return {finding.topic: finding for finding in check(cfg)}


@pytest.fixture
def world_there(monkeypatch):
    monkeypatch.setattr("worldsim.loading.list_worlds", lambda: ["drive"])


def test_machine_with_everything_is_playable(world_there, capsys):
    assert report(QUICK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "playable"
    assert not [line for line in lines if line.startswith("!")]
    for topic in ("python", "torch", "pygame-ce", "cpu", "bf16 on cpu", "worlds", "disk"):
        assert any(line[2:].startswith(topic) for line in lines), topic


def test_machine_without_a_world_is_not_playable(monkeypatch, capsys):
    monkeypatch.setattr("worldsim.loading.list_worlds", lambda: [])
    assert report(QUICK) == 1
    assert "not playable, missing: worlds" in capsys.readouterr().out


def test_every_lack_comes_with_one_line_of_advice(monkeypatch, capsys):
    lacks = [Finding("eyes", "shut", "open them"), Finding("ears", "deaf", "knock", needed=True)]
    monkeypatch.setattr(doctor, "CHECKS", (lambda cfg: lacks,))
    assert report(QUICK) == 1
    assert capsys.readouterr().out.splitlines() == [
        "- eyes  shut",
        "        -> open them",
        "! ears  deaf",
        "        -> knock",
        "",
        "not playable, missing: ears",
    ]


def test_a_card_that_cannot_be_used_is_a_line(monkeypatch):
    """It ended the whole table."""

    def broken(_):
        raise RuntimeError("CUDA error: out of memory\nmore of it")

    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", broken)
    found = look(doctor.check_devices)
    assert found["cuda:0"].state == "cannot be used: CUDA error: out of memory"
    assert found["cuda:0"].advice and "bf16 on cpu" in found


def test_missing_extra_is_a_lack_and_missing_requirement_a_fault(monkeypatch):
    def no_version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", no_version)
    found = look(doctor.check_packages)
    assert found["torch"].is_fault and "pip install 'torch>=" in found["torch"].advice
    assert found["vizdoom"].advice and not found["vizdoom"].is_fault


def test_too_old_a_package_is_a_fault(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: "0.1" if name == "av" else version(name))
    found = look(doctor.check_packages)["av"]
    assert found.is_fault and "0.1" in found.state and "av>=" in found.advice


def test_package_that_is_installed_and_does_not_load_is_a_fault(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)  # what importing does then: ImportError
    found = look(doctor.check_packages)["av"]
    assert found.is_fault and "ModuleNotFoundError" in found.state


def test_pygame_beside_pygame_ce_is_a_fault(monkeypatch):
    """Both write the folder `pygame`: what is imported is then a mixture of the two."""
    monkeypatch.setattr(
        doctor, "version", lambda name: "2.6" if name == "pygame" else version(name)
    )
    found = look(doctor.check_packages)["pygame"]
    assert found.is_fault and "pip uninstall -y pygame pygame-ce" in found.advice


def test_requirements_are_the_same_in_a_checkout_and_installed(monkeypatch, tmp_path):
    """The wheel's metadata writes an extra as a marker."""
    here = list(doctor._requirements())
    lines = [f'{line}; extra == "{extra}"' if extra else line for line, extra in here]
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    monkeypatch.setattr(doctor, "PROJECT", tmp_path / "pyproject.toml")
    assert list(doctor._requirements()) == here


def test_looking_for_text_weights_downloads_nothing(monkeypatch):
    import os

    seen = []

    def find():
        seen.append(os.environ.get("HF_HUB_OFFLINE"))
        raise FileNotFoundError("run `make text`")

    monkeypatch.setattr("worldsim.text.find_weights", find)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    found = look(doctor.check_worlds)["text weights"]
    assert seen == ["1"] and "HF_HUB_OFFLINE" not in os.environ
    assert found.advice == "run `make text`" and not found.is_fault


def test_little_disk_is_a_lack():
    found = look(doctor.check_surroundings, DoctorConfig(disk=1e9))["disk"]
    assert found.advice and not found.is_fault


def test_no_display_is_a_lack(monkeypatch):
    monkeypatch.setattr("worldsim.viewer.has_display", lambda: False)
    found = look(doctor.check_surroundings)["display"]
    assert "film" in found.advice and not found.is_fault


def test_negative_disk_is_refused():
    with pytest.raises(ValueError, match="`disk` must be at least 0, got -1"):
        DoctorConfig(disk=-1)


def test_doctor_without_torch_still_reports(tmp_path):
    """The one who needs a doctor most has a broken install."""
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: cannot open')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from worldsim.cli import main; sys.exit(main(['doctor', 'measure=false']))"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "ImportError: libtorch.so: cannot open" in done.stdout
    assert "not playable, missing: torch" in done.stdout
