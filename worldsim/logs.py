"""What a training tells: to a progress bar, to `log.jsonl`, to pictures and to Weights & Biases."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from worldsim.limits import check_choice
from worldsim.processes import rank

EVERY = 20  # train steps that a line of the log is the mean of
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"


@dataclass
class WandbConfig:
    """Logging to Weights & Biases."""

    mode: str = "auto"
    """"online", "offline", "disabled", or "auto": online with an API key, else offline."""
    project: str = "worldsim"

    def __post_init__(self) -> None:
        check_choice("wandb.mode", self.mode, ("auto", "online", "offline", "disabled"))


class Log:
    """Metrics of one run; of several processes the first one writes.

    Args:
        out: Folder of the run.
        wandb: Whether Weights & Biases hears of it.
        config: Of the run, for Weights & Biases.
        name: What is trained.
        told: Told the share of the budget that is spent, in place of a bar.
    """

    def __init__(
        self,
        out: Path,
        wandb: WandbConfig,
        config: dict[str, Any],
        name: str,
        told: Callable[[float], None] | None = None,
    ) -> None:
        self.file, self.run, self.told = out / "log.jsonl", None, told
        self.sums: dict[str, list[float]] = {}
        hidden = rank() > 0 or told is not None
        self.bar = tqdm(total=100, desc=name, disable=hidden, bar_format=BAR)
        mode = wandb.mode
        if mode == "auto":
            mode = "online" if os.environ.get("WANDB_API_KEY") else "offline"
        if mode != "disabled" and rank() == 0:
            from wandb import Settings, init

            self.run = init(
                project=wandb.project, name=f"{out.name}-{name}", dir=str(out), mode=mode,
                config=config, settings=Settings(silent=True, console="off"),
            )  # fmt: skip

    def step(self, step: int, metrics: dict[str, float], share: float, elapsed: float) -> None:
        """Take note of a train step; every so often, show and write the mean of the last ones.

        `share` of the budget is spent, `elapsed` seconds have been.
        """
        for key, value in metrics.items():
            self.sums.setdefault(key, []).append(value)
        self.bar.n = 100 * share
        if step % EVERY == 0:
            means = {key: sum(values) / len(values) for key, values in self.sums.items()}
            self.sums = {}
            self.bar.set_postfix_str(" ".join(f"{k} {v:.3f}" for k, v in means.items()))
            rate = step / max(elapsed, 1e-9)
            self.write(step, means | {"steps_per_second": rate, "progress": share})
        if self.told:
            self.told(share)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Write a line."""
        if rank() > 0:
            return
        line = {"step": step} | {k: round(v, 5) for k, v in metrics.items()}
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.run:
            self.run.log(metrics, step=step)

    def picture(self, step: int, frame: Tensor) -> None:
        """Keep a picture `(h, w, 3)` uint8."""
        from worldsim.images import write_image

        frame = frame.cpu().numpy()
        write_image(self.file.with_name(f"strip-{step:06d}.png"), frame)
        if self.run:
            from wandb import Image

            self.run.log({"strips": Image(frame)}, step=step)

    def close(self) -> None:
        """Say that nothing more comes."""
        self.bar.close()
        if self.run:
            self.run.finish()
