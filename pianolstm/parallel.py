"""Many files through one function, in several processes, in order and in bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

Result = TypeVar("Result")
FEW = 5_000  # files; below that, starting processes takes longer than it saves
CHUNK = 128  # files that travel together


class CrashError(Exception):
    """A file at which the process that read it died."""


def map_files(
    function: Callable[[Path], Result],
    paths: Sequence[Path],
    processes: int | None = None,
    progress: bool | None = None,
) -> Iterator[Result | CrashError]:
    """`function(path)` for every path, in order; at most a few chunks of results wait at once.

    `processes` is 1 below 5,000 files unless given, else one for each core that we may use. With
    more than one, `function` must be importable (a module's function or a partial of one), a
    script must call this under `if __name__ == "__main__":`, and a file that kills its process
    gives a `CrashError` in place of its result while the rest goes on. `progress` shows a bar with
    files a second and the time left; None means only on a terminal. Raises RuntimeError where no
    process can be started.
    """
    if processes is None:
        processes = 1 if len(paths) < FEW else available_cores()
    results = map(function, paths) if processes == 1 else _in_processes(function, paths, processes)
    hidden = None if progress is None else not progress
    yield from tqdm(results, "reading", len(paths), unit="file", disable=hidden, smoothing=0.02)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_processes(function: Callable, paths: Sequence[Path], processes: int) -> Iterator:
    remaining = iter(paths)
    chunks = iter(lambda: list(islice(remaining, CHUNK)), [])
    pool = _pool(processes)
    waiting: deque[tuple[list[Path], Future]] = deque()
    try:
        while True:
            for chunk in islice(chunks, 3 * processes - len(waiting)):
                waiting.append((chunk, _submit(pool, function, chunk)))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            try:
                results = future.result()
            except BrokenProcessPool:
                pool.shutdown(wait=False, cancel_futures=True)
                results = _one_by_one(function, chunk)
                pool = _pool(processes)
                waiting = deque((c, _submit(pool, function, c)) for c, _ in waiting)
            yield from results
    finally:  # also when the reader of the results stops, or on Ctrl-C
        pool.shutdown(wait=False, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, function: Callable, chunk: list[Path]) -> Future:
    try:
        return pool.submit(_apply, function, chunk)
    except BrokenProcessPool as error:  # it broke since the last result
        future: Future = Future()
        future.set_exception(error)
        return future


def _one_by_one(function: Callable, chunk: list[Path]) -> list:
    """A chunk at whose reading some process died: find out which file did it."""
    results, pool = [], _pool(1)
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise RuntimeError(
            "no further process can be started. In a script, call this under "
            '`if __name__ == "__main__":`, or say processes=1'
        ) from None
    for path in chunk:
        try:
            results += pool.submit(_apply, function, [path]).result()
        except BrokenProcessPool:
            results.append(CrashError(f"{path.name}: the process that read it died"))
            pool = _pool(1)
    pool.shutdown()
    return results


def _apply(function: Callable, chunk: list[Path]) -> list:
    return [function(path) for path in chunk]


def _pool(processes: int) -> ProcessPoolExecutor:
    # "spawn": a fork of a process with threads (PyTorch's, a notebook's) can hang for ever
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, context, initializer=_depend_on_the_parent)


def _depend_on_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to deal with

    def watch() -> None:  # a parent that is killed cannot say goodbye
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
