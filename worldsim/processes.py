"""The processes of one training: which one this is, what they agree on, what stops them."""

import signal
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn


def among_others() -> bool:
    """Say whether `torchrun` started this process beside others."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return this process's number; 0 where it is alone."""
    return dist.get_rank() if among_others() else 0


def agree(elapsed: float, stopped: list[int]) -> float:
    """Return the first process's clock; fill `stopped` if a signal reached any process."""
    if not among_others():
        return elapsed
    shared = torch.tensor([elapsed if rank() == 0 else 0.0, float(bool(stopped))])
    shared = shared.cuda() if dist.get_backend() == "nccl" else shared
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    if shared[1] and not stopped:
        stopped.append(int(signal.SIGTERM))
    return shared[0].item()


def together(g: torch.Generator) -> torch.Generator:
    """Return a source of chance that all processes share; `g` itself where this one is alone.

    Steps end together: batches of one kind and length leave no process waiting for another.
    """
    if not among_others():
        return g
    seed = torch.randint(2**31, (1,), generator=g)
    seed = seed.cuda() if dist.get_backend() == "nccl" else seed
    dist.broadcast(seed, 0)
    return torch.Generator().manual_seed(int(seed))


def wait() -> None:
    """Let no process go on before all are here: what the first one wrote can be read."""
    if among_others():
        dist.barrier()


def distributed(model: nn.Module, device: torch.device) -> nn.Module:
    """Wrap the model when `torchrun` started several processes."""
    if not among_others():
        return model
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=ids, find_unused_parameters=True)


@contextmanager
def catch_signals():
    """Yield a list that fills when SIGINT or SIGTERM arrives; handlers are put back after."""
    caught: list[int] = []
    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            previous[number] = signal.signal(number, lambda n, _: caught.append(n))
        except ValueError:  # not the main thread: the caller handles signals
            pass
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
