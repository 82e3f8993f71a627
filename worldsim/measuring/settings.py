"""What is measured, on how much, and how."""

from dataclasses import dataclass, field

from worldsim.limits import check_least
from worldsim.measuring.probes import ProbeConfig


@dataclass
class EvaluateConfig:
    """What to measure, and how thoroughly."""

    world: str = "drive"
    """Name of a shipped world, a folder or a Hub id."""
    data: str = "data/drive-test"
    """Held-out recordings."""
    probe_data: str = ""
    """Recordings that the probe learns from; by default the simulator records some, and where it
    cannot be made every second episode of `data` serves."""
    out: str = "report"
    """Folder of the report; empty for none."""
    sections: tuple[str, ...] = ()
    """Of tokenizer, fidelity, draws, completion, actions, counterfactual, steering, driving,
    revisit, state, rewards, text, drift, doubt, time and probe; empty for all."""
    clips: int = 64
    """Held-out clips."""
    context: int = 16
    """Real frames given to the world."""
    horizons: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Which imagined frames to judge."""
    sampler_steps: int = 0
    """Steps per imagined frame; 0 is the world's default."""
    variety: float | None = None
    """How much chance has a say where frames are not judged one by one; null is the world's own."""
    guidance: float | None = None
    """Strength of prompts in the text section; null is the world's own."""
    replays: int = 40
    """Clips for which the simulator is asked what other actions would have brought; 0 saves the
    time of replaying each clip's episode twice."""
    starts: int = 20
    """Starts for steering and driving."""
    drive_frames: int = 200
    """Frames to stay on the road under the world's own policy."""
    drift_frames: int = 1024
    drift_rows: int = 8
    """Rollouts per way of acting (idle, random, recorded, autopilot) in the drift section."""
    prompts: int = 32
    """Prompts to ask for in the text section."""
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    lpips: str = ""
    """TorchScript file `(n, 3, h, w) x 2 -> (n,)` on [-1, 1]; empty leaves LPIPS out."""
    fvd: str = ""
    """TorchScript file `(n, 3, t, h, w) -> (n, d)` on [-1, 1]; empty leaves FVD out."""
    keep: bool = False
    """Write the hallucination alarm's calibration into the world's config.json and, where all
    measures were taken, the figures into its model card."""
    seed: int = 0
    device: str = ""
    """Where to run; empty chooses."""
    progress: bool = True

    def __post_init__(self) -> None:
        self.sections, self.horizons = tuple(self.sections), tuple(sorted(set(self.horizons)))
        check_least(self, clips=1, context=2, sampler_steps=0, replays=0, starts=1, prompts=1)
        check_least(self, drive_frames=1, drift_frames=1, drift_rows=1)
        if not self.horizons or self.horizons[0] < 1:
            raise ValueError(f"`horizons` must name frames from 1 on, got {self.horizons}")
