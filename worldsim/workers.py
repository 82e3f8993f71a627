"""Do a list of jobs in several processes, and say clearly which one failed, and why."""

import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol


class Job(Protocol):
    """What the processes do; travels to them by pickle."""

    def open(self) -> Any:
        """Set up whatever `run` needs, once in each process; offers `close()`."""

    def run(self, tool: Any, index: int) -> Any:
        """Do piece `index` of the job and return something picklable."""

    def name(self, index: int) -> str:
        """Say what piece `index` is, for messages."""


def run_parallel(job: Job, pieces: Iterable[int], workers: int) -> Iterator[tuple[int, Any]]:
    """Yield `(index, result)` of each piece as it gets done.

    The next piece is asked for as soon as a process is free for it, before the result is yielded.

    Raises:
        TypeError: If the job cannot be pickled.
        ChildProcessError: If a process dies; the others are ended.
        Exception: What a piece failed with, its traceback as the cause; a RuntimeError that tells
            of it if it cannot be pickled. The other processes are ended.
    """
    _check_picklable(job)
    queue = iter(pieces)
    busy: dict[Connection, tuple[BaseProcess, int]] = {}
    context = multiprocessing.get_context("spawn")
    try:
        with _settings_for_children():
            for index in itertools.islice(queue, workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, job), daemon=True)
                process.start()
                theirs.close()
                busy[ours] = process, _send(ours, index)
        while busy:
            for pipe in wait(list(busy)):
                process, index = busy[pipe]
                result = _receive(pipe, process, job.name(index))
                following = next(queue, None)
                if following is not None:
                    busy[pipe] = process, _send(pipe, following)
                else:
                    del busy[pipe]
                    pipe.close()  # the worker reads the end of the pipe and leaves
                    process.join()
                yield index, result
    finally:
        for process, _ in busy.values():
            process.terminate()
            process.join()


def _send(pipe: Connection, index: int) -> int:
    with suppress(BrokenPipeError):  # `_receive` finds out who died, and says so
        pipe.send(index)
    return index


def _receive(pipe: Connection, process: BaseProcess, name: str) -> Any:
    try:
        failure, result = pipe.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        raise ChildProcessError(
            f"a worker ended with exit code {process.exitcode} in the middle of {name}; use "
            "workers=1 to see why (workers import the script that starts them: it must do so "
            'under `if __name__ == "__main__":`)'
        ) from None
    if failure:
        raise _unpack(*failure, name)
    return result


def _pack(error: Exception) -> tuple[bytes, str]:
    """Return an error as it travels, empty if it cannot, and its traceback."""
    text = "".join(traceback.format_exception(error))
    try:
        return pickle.dumps(error), text
    except Exception:
        return b"", text


def _unpack(packed: bytes, text: str, name: str) -> Exception:
    """Return a worker's error; one that tells of it if it could not travel, or not arrive."""
    told = RuntimeError(f"{name} failed in a worker:\n\n{text}")
    try:
        error = pickle.loads(packed)
    except Exception:  # whatever somebody's own class raises when it is built anew
        return told
    if not isinstance(error, Exception):
        return told
    error.__cause__ = told
    return error


def _work(pipe: Connection, job: Job) -> None:
    """Do the pieces whose indices come through the pipe, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    with suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)
    tool = None
    with suppress(EOFError, BrokenPipeError):
        while True:
            index = pipe.recv()
            try:
                tool = job.open() if tool is None else tool
                answer = None, job.run(tool, index)
            except Exception as error:
                answer = _pack(error), None
            pipe.send(answer)
    if tool is not None:
        tool.close()


def _check_picklable(job: Job) -> None:
    try:
        pickle.dumps(job)
    except Exception as error:
        raise TypeError(
            f"what goes to worker processes must be picklable, got {job} ({error}); define classes "
            "and functions at the top of a module, not as lambdas, or use workers=1"
        ) from None


@contextmanager
def _settings_for_children() -> Iterator[None]:
    """Let processes started meanwhile use one thread each, and leave Ctrl-C to their parent."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
