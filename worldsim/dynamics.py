"""The spacetime diffusion transformer: past latents, actions and text to the next latents.

Every block attends in space within each frame; every `time_every`-th block also attends over time,
separately at each place of the frame, and reads the words of the frame's prompt. Signal level, step
size, action and the gist of the prompt modulate every frame (adaLN-Zero with one projection shared
by all blocks): the words' mean says at once what place and light to paint, the words themselves say
the rest. Convolutions and blocks have a condition each, so that either can learn while the other
stays as it is. Before the frame is cut into tokens and after it is put together again, a few
convolutions look at its cells beside those of the last few frames: what stands still is copied,
what moves is moved there, and the transformer is left with what needs memory, space and text.
Frames that a single step from noise leads to, as a live rollout takes them, are put together by one
painter, all others (from nothing, in many steps, both ways in time) by another. One set of weights
looks at time in two ways: *causal*, a band of `context` frames, for the live rollout; *full*, every
frame sees every other, for whole clips.

A frame's tokens are `[latent tokens | registers | agent]`. The agent token reads the others and is
read by none; reward, termination and the recorded policy's next action are read off it.

References:
    Diffusion transformers (adaLN-Zero), Peebles & Xie 2022, https://arxiv.org/abs/2212.09748
    PixArt (one shared modulation), Chen et al. 2023, https://arxiv.org/abs/2310.00426
    Stable Diffusion 3 (pooled text beside words), Esser et al. 2024, https://arxiv.org/abs/2403.03206
    Registers, Darcet et al. 2023, https://arxiv.org/abs/2309.16588
    Dreamer 4 (architecture, agent token), Hafner et al. 2025, https://arxiv.org/abs/2509.24527
    JiT (predicting x), Li & He 2025, https://arxiv.org/abs/2511.13720
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from worldsim.architecture import DynamicsConfig
from worldsim.blocks import (
    Block,
    CellBlock,
    Condition,
    Look,
    Painter,
    agent_mask,
    embed_places,
    space_rotation,
)
from worldsim.flow import per_frame
from worldsim.formats import update_weights
from worldsim.frames import Frames, Prediction, Prompts, Text
from worldsim.kv_cache import KVCache
from worldsim.nn import Conv2d, norm, rotation


class Dynamics(nn.Module):
    """The spacetime diffusion transformer.

    Args:
        cfg: Architecture.
    """

    def __init__(self, cfg: DynamicsConfig) -> None:
        super().__init__()
        self.cfg = cfg
        d, cells, patch = cfg.dim, cfg.cells, cfg.cells * cfg.patch**2
        self.embed = Conv2d(cfg.recent * cfg.channels, cells, 3, padding=1)
        self.embed_itself = Conv2d(cfg.channels, cells, 3, padding=1, bias=False)
        self.place = nn.Linear(32, cells, bias=False)
        self.stem = nn.ModuleList(CellBlock(cells, d, cfg.group) for _ in range(cfg.stem))
        self.gather = nn.Linear(patch, d)
        self.special = nn.Parameter(0.02 * torch.randn(cfg.registers + 1, d))
        self.near = Condition(cfg)
        self.far = Condition(cfg) if cfg.apart else None
        self.no_prompt = nn.Parameter(0.02 * torch.randn(cfg.text_dim))
        self.modulation = nn.Linear(d, 9 * d)
        self.register_load_state_dict_pre_hook(update_weights)
        every = cfg.time_every
        self.blocks = nn.ModuleList(
            Block(d, cfg.heads, cfg.kv_heads, cfg.text_dim, layer)
            for layer in (i // every if i % every == every - 1 else None for i in range(cfg.depth))
        )
        self.painters = nn.ModuleList(Painter(cfg) for _ in range(1 + cfg.apart))
        self.agent = nn.Linear(d, cfg.bins + 1 + cfg.action_dim * cfg.action_bins)
        for layer in (self.modulation, self.agent):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        # to begin with, nothing is earned and nothing ends
        nn.init.constant_(self.agent.bias[cfg.bins // 2], 4.0)
        nn.init.constant_(self.agent.bias[cfg.bins], -4.0)

    def forward(
        self,
        frames: Frames,
        prompts: Prompts | None = None,
        *,
        causal: bool = True,
        drafts: int = 0,
        local: bool = False,
        isolated: Tensor | None = None,
        fill: tuple[KVCache, Tensor] | None = None,
        agent: bool = True,
        latents: bool = True,
    ) -> Prediction:
        """Predict every frame of a clip at once.

        Args:
            frames: `t` frames per row.
            prompts: Their prompts; None is the null prompt everywhere.
            causal: Frames see at most `context` frames, none later; else every frame sees all.
            drafts: How many drafts of the first `t / (1 + drafts)` frames follow those: each sees
                itself and the frames before the one it is a draft of, and is seen by no other.
            local: Whether the transformer is left out: the convolutions alone, and no agent.
            isolated: `(b,)` bool, rows in which every frame sees only itself.
            fill: A cache, and the rows of it that these clips of `t <= context` frames start.
            agent: Whether to compute reward, termination and policy.
            latents: Whether the frames' latents are wanted, or what the cache keeps of them alone.
        """
        text = self.read_prompts(prompts, frames.tau)
        if local:
            return Prediction(self.move(frames, causal, text))
        t = frames.x.shape[1]
        index = torch.arange(t, device=frames.x.device)
        itself = index[:, None] == index
        n = t // (1 + drafts)
        positions = index % n
        lag = positions[:, None] - positions
        seen = (lag >= 0) & (lag < self.cfg.context) if causal else torch.ones_like(itself)
        if drafts:
            draft = index >= n
            seen = itself | seen & ~draft & (~draft[:, None] | (lag > 0))
        seen = seen[None, None]  # (1, 1, t, t)
        if isolated is not None:
            seen = torch.where(isolated[:, None, None, None], itself, seen)
        memory = {"text": text, "cache": None, "fill": fill}
        part = slice(n if drafts else 0, None if latents else 0)
        moved = frames.single[:, part] if causal and self.cfg.apart else False
        return self._run(frames, positions[None], seen, memory, causal, agent, part, moved)

    def step(
        self,
        frames: Frames,
        positions: Tensor,
        cache: KVCache,
        text: Text,
        *,
        single: bool,
        agent: bool = False,
        latents: bool = True,
    ) -> Prediction:
        """Predict the newest frame of every row from a cache.

        Keys and values of all frames given go into their slots of the ring. A frame at the commit
        level that comes along before the newest one becomes part of the past that this one sees.

        Args:
            frames: A few frames per row, `(b, t)`.
            positions: `(b, t)` int64, where they stand.
            cache: The past.
            text: From `read_prompts`, for these frames.
            single: Whether a single step from noise leads to the newest frame.
            agent: Whether to run the agent token, for reward, termination and policy.
            latents: Whether the newest frame's latents are wanted.
        """
        memory = {"text": text, "cache": cache, "fill": None}
        part = slice(-1, None) if latents else slice(0)
        seen = cache.visible(positions)
        return self._run(frames, positions, seen, memory, True, agent, part, single)

    def move(self, frames: Frames, causal: bool, text: Text) -> Tensor:
        """Predict latents `(b, t, c, h, w)` from the last few frames alone, by convolutions."""
        near = self.near(frames, causal, text.gist)
        u = self._read_cells(frames, near)
        return self._paint(frames, u, (near, near), None, moved=True, causal=causal)

    def read_prompts(self, prompts: Prompts | None, like: Tensor) -> Text:
        """Read what frames follow, once for many calls of `step`.

        Args:
            prompts: What `t` frames of `b` rows follow; None is the null prompt everywhere.
            like: Any `(b, t)` tensor.
        """
        words = self.no_prompt.expand(len(like), 1, -1)
        mask = torch.ones(*like.shape, 1, dtype=torch.bool, device=like.device)
        if prompts is not None:
            words, mask = torch.cat([words, prompts.words.to(words.dtype)], 1), prompts.mask()
        gist = norm(mask.to(words.dtype) @ words)
        return Text([block.text.read(words) for block in self._time_blocks()], mask, gist)

    def join(self, settled: bool) -> None:
        """Prepare for the transformer, once the convolutions have learned how things move.

        The other painter, and what steers it, begin as the mover, if they have learned nothing.

        Args:
            settled: Whether what moves things, and what steers that, stays as it is from now on.
        """
        mover, *others = self.painters
        for painter in others:
            if not painter.head.weight.any():
                painter.load_state_dict(mover.state_dict())
                self.far.load_state_dict(self.near.state_dict())
        still = (self.embed, self.place, self.stem, self.near, mover.tail, mover.head, mover.copy)
        for part in still if settled else ():
            part.requires_grad_(False)
        self.no_prompt.requires_grad_(not settled)

    def new_cache(self, rows: int, latent_size: tuple[int, int]) -> KVCache:
        """Allocate an empty cache for `rows` worlds with latent grids of `(h, w)` cells."""
        cfg = self.cfg
        tokens = latent_size[0] * latent_size[1] // cfg.patch**2 + cfg.registers + 1
        streams = tokens * cfg.kv_heads
        like = self.agent.weight
        if torch.is_autocast_enabled(like.device.type):
            like = like.to(torch.get_autocast_dtype(like.device.type))
        return KVCache.empty(
            cfg.time_layers, rows, streams, cfg.context, cfg.dim // cfg.heads, like
        )

    def _time_blocks(self) -> list[Block]:
        return [block for block in self.blocks if block.time_layer is not None]

    def _run(
        self,
        frames: Frames,
        positions: Tensor,
        time_mask: Tensor,
        memory: dict,
        causal: bool,
        agent: bool,
        part: slice,
        moved: Tensor | bool,
    ) -> Prediction:
        """Run all frames through the transformer, and those in `part` on to their latents."""
        p, dh = self.cfg.patch, self.cfg.dim // self.cfg.heads
        t, _, h, w = frames.x.shape[1:]
        near = self.near(frames, causal, memory["text"].gist)  # (b, t, d)
        u = self._read_cells(frames, near)  # (b, t, cells, h, w)
        x = self.gather(rearrange(u, "b t c (h p) (w q) -> b t (h w) (p q c)", p=p, q=p))
        special = self.special if agent else self.special[:-1]
        x = torch.cat([x, special.to(x.dtype).expand(*x.shape[:2], -1, -1)], 2)  # (b, t, n, d)
        n = x.shape[2]
        look = Look(
            space=space_rotation(h // p, w // p, n, dh // 2, x.device),
            space_mask=agent_mask(n, x.device) if agent else None,
            time=tuple(part[:, None, None] for part in rotation(positions, dh // 2, 1000.0)),
            time_mask=time_mask,
            positions=positions,
            **memory,
        )
        far = self.far(frames, causal, memory["text"].gist) if self.far else near
        modulation = self.modulation(far)[:, :, None]  # (b, t, 1, 9 d)
        for block in self.blocks:
            layer = block.time_layer
            x = block(x, modulation, look, None if layer is None else look.text.words[layer])
        latents = None
        if range(t)[part]:
            tokens = x[:, part, : h * w // p**2]
            steer = near[:, part], far[:, part]
            shown = frames.during(part)
            latents = self._paint(shown, u[:, part], steer, tokens, moved, causal)
        if not agent:
            return Prediction(latents)
        sizes = [self.cfg.bins, 1, self.cfg.action_dim * self.cfg.action_bins]
        reward, terminated, policy = self.agent(norm(x[:, :, -1])).float().split(sizes, -1)
        policy = rearrange(policy, "b t (a bins) -> b t a bins", a=self.cfg.action_dim)
        return Prediction(latents, reward, terminated[..., 0], policy)

    def _read_cells(self, frames: Frames, cond: Tensor) -> Tensor:
        """Look at each frame's cells beside those of the frames before; noise weighs nothing."""
        b, t, _, h, w = frames.x.shape

        def seen(x: Tensor, tau: Tensor) -> Tensor:
            x = (x * tau.sqrt()[..., None, None, None]).to(cond.dtype)
            x = rearrange(x, "b t m c h w -> (b t) (m c) h w")
            return x.contiguous(memory_format=torch.channels_last)

        u = self.embed(seen(frames.previous, frames.previous_tau))
        u = u + self.embed_itself(seen(frames.x[:, :, None], frames.tau[..., None]))
        place = self.place(embed_places(h, w, cond.dtype, u.device))
        u = u + rearrange(place, "(h w) c -> c h w", h=h)
        for block in self.stem:
            u = block(u, cond.flatten(0, 1))
        return u.unflatten(0, (b, t))

    def _paint(
        self,
        frames: Frames,
        u: Tensor,
        steer: tuple[Tensor, Tensor],
        tokens: Tensor | None,
        moved: Tensor | bool,
        causal: bool,
    ) -> Tensor:
        """Turn cells and tokens into latents: by the mover, steered by `near`, what is `moved`."""
        draft = frames.x
        if self.cfg.chance and causal:  # no cell takes noise for what it looks like
            draft = draft * ~per_frame(frames.single)
        parts = (u, draft, frames.previous[:, :, -1], tokens)
        u, x, last, tokens = (part if part is None else part.flatten(0, 1) for part in parts)
        near, far = (cond.flatten(0, 1) for cond in steer)
        if isinstance(moved, bool):
            cond = near if moved else far
            y = self.painters[0 if moved else -1](u, cond, x, last, tokens)
        else:
            y = torch.empty_like(x, dtype=torch.float32)
            pairs = zip(self.painters, (near, far), (moved, ~moved), strict=True)
            for painter, cond, which in pairs:
                rows = which.flatten().nonzero()[:, 0]
                if len(rows):
                    y[rows] = painter(*(part[rows] for part in (u, cond, x, last, tokens)))
        return y.unflatten(0, frames.tau.shape)
