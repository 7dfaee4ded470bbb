"""Many files through one function, in several processes, in order and in bounded memory.

Not joblib's: there a process that dies takes the results of all others with it; here it costs the
one file that killed it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

Result = TypeVar("Result")
FEW = 5_000  # files; below that, starting processes takes longer than it saves
BLOCK = 8192  # files whose results may wait at once
CHUNK = 64  # files that travel together


def map_files(
    function: Callable[[Path], Result], paths: Sequence[Path], processes: int | None = None
) -> Iterator[Result | None]:
    """`function(path)` for every path, in order; None for a file at which its process died.

    `processes` is 1 below 5,000 files unless given, else one for each core that we may use. With
    more than one, `function` must be importable (a module's function or a partial of one), and a
    script must call this under `if __name__ == "__main__":`. Shows a bar on a terminal. Raises
    RuntimeError where no process can be started.
    """
    if processes is None:
        processes = 1 if len(paths) < FEW else available_cores()
    results = map(function, paths) if processes == 1 else _in_processes(function, paths, processes)
    yield from tqdm(results, "reading", len(paths), unit="file", disable=None, smoothing=0.02)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_processes(function: Callable, paths: Sequence[Path], processes: int) -> Iterator:
    pool = _start_pool(processes)
    try:
        for start in range(0, len(paths), BLOCK):
            block, done = paths[start : start + BLOCK], 0
            try:
                for result in pool.map(function, block, chunksize=CHUNK):
                    yield result
                    done += 1
            except BrokenProcessPool:
                yield from _one_by_one(function, block[done:])
                pool = _start_pool(processes)
    finally:  # also when the reader of the results stops, or on Ctrl-C
        pool.shutdown(wait=False, cancel_futures=True)


def _one_by_one(function: Callable, paths: Sequence[Path]) -> Iterator:
    """Files of which one killed its process: this finds out which."""
    pool = _start_pool(1)
    try:
        for path in paths:
            try:
                yield pool.submit(function, path).result()
            except BrokenProcessPool:
                yield None
                pool = _start_pool(1)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start_pool(processes: int) -> ProcessPoolExecutor:
    # "spawn": a fork of a process with threads (PyTorch's, a notebook's) can hang for ever
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_follow_the_parent)
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise RuntimeError(
            "no further process can be started. In a script, call this under "
            '`if __name__ == "__main__":`, or say processes=1'
        ) from None
    return pool


def _follow_the_parent() -> None:
    """Leave Ctrl-C to the parent process, and exit if it dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
