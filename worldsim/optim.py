"""Muon for weight matrices and AdamW for the rest, as one optimizer.

torch's own Muon takes 2-D parameters only; convolutions here are matrices `(out, in * kh * kw)`.

References:
    Muon, Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
"""

import torch
from torch import Tensor, nn


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return (matrices, everything else: vectors, what embeds numbers, gates, classes).

    The first convolutions are among the matrices: with Muon they learn much faster. What has 16
    outputs or fewer, as the last ones do, is not.
    """
    apart = ("agent", "place", "tau", "previous_tau", "copy")
    matrices, rest = [], []
    for name, p in model.named_parameters():
        matrix = p.ndim >= 2 and min(p.shape[0], p[0].numel()) > 16
        apt = matrix and not set(name.split(".")) & set(apart) and p.requires_grad
        (matrices if apt else rest).append(p)
    return matrices, rest


def orthogonalise(update: Tensor) -> Tensor:
    """Push all singular values of matrices `(b, m, n)` towards 1 by five Newton-Schulz steps."""
    tall = update.shape[1] > update.shape[2]
    x = (update.mT if tall else update).to(torch.bfloat16, memory_format=torch.contiguous_format)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        a = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, a, x, beta=3.4445)
    return x.mT if tall else x


class MuonAdamW:
    """Two optimizers behind one face; matrices of one shape are stepped together.

    Args:
        model: Its parameters are split by `split_parameters`.
        muon_lr: Learning rate of the matrices.
        adam_lr: Learning rate of the rest.
    """

    def __init__(self, model: nn.Module, muon_lr: float, adam_lr: float) -> None:
        self.matrices, rest = split_parameters(model)
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.muon_lr, self.adam_lr = muon_lr, adam_lr
        self.adam = torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self.adam.zero_grad()
        for p in self.matrices:
            p.grad = None

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Take one step at `scale` times the learning rates."""
        for group in self.adam.param_groups:
            group["lr"] = scale * self.adam_lr
        self.adam.step()
        for group in self._by_shape():
            for p, m in group:
                m.lerp_(p.grad, 0.05)
            update = orthogonalise(torch.stack([p.grad.lerp(m, 0.95).flatten(1) for p, m in group]))
            size = max(1.0, update.shape[1] / update.shape[2]) ** 0.5
            for (p, _), change in zip(group, update, strict=True):
                p.add_(change.view_as(p), alpha=-scale * self.muon_lr * size)

    def _by_shape(self) -> list[list[tuple[Tensor, Tensor]]]:
        """Group the matrices that have a gradient, each with its momentum, by their shape."""
        groups: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for p, m in zip(self.matrices, self.momentum, strict=True):
            if p.grad is not None:
                groups.setdefault((len(p), p[0].numel()), []).append((p, m))
        return list(groups.values())

    def state(self) -> dict[str, Tensor]:
        """Return everything that a resumed run needs, as named tensors."""
        named = {f"momentum.{i}": m for i, m in enumerate(self.momentum)}
        for i, state in self.adam.state_dict()["state"].items():
            named |= {f"adam.{i}.{key}": value for key, value in state.items()}
        return named

    def load(self, named: dict[str, Tensor]) -> None:
        """Undo `state`."""
        for i, m in enumerate(self.momentum):
            m.copy_(named[f"momentum.{i}"])
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in named.items():
            if name.startswith("adam."):
                _, i, key = name.split(".")
                states.setdefault(int(i), {})[key] = value
        self.adam.load_state_dict(self.adam.state_dict() | {"state": states})
