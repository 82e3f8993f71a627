"""Prompts of a batch of worlds, one per row, as their dynamics read them."""

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from worldsim.frames import Prompts, Text
from worldsim.world import World


def pad_prompts(world: World, prompts: Sequence[str | None], t: int) -> Prompts | None:
    """Pad the words of one prompt per row, which `t` frames follow; None if no row has one."""
    if not any(prompts):
        return None
    nothing = torch.zeros(0, world.dynamics.cfg.text_dim)
    words = [world.words(prompt).float().cpu() if prompt else nothing for prompt in prompts]
    lengths = torch.tensor([len(w) for w in words])
    padded = pad_sequence(words, batch_first=True)
    owner = torch.where(torch.arange(padded.shape[1])[None] < lengths[:, None], 0, -1)
    of_frame = torch.where(lengths[:, None] > 0, 0, -1).expand(-1, t)
    return Prompts(*(part.to(world.device) for part in (padded, owner, of_frame)))


@torch.inference_mode()
def read_text(world: World, prompts: Sequence[str | None]) -> Text:
    """Read one prompt per row, for the next frame of each and all after it."""
    like = torch.zeros(len(prompts), 1, device=world.device)
    return world.dynamics.read_prompts(pad_prompts(world, prompts, 1), like)
