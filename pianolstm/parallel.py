"""Many files through one function, in several processes, in order and in bounded memory.

Not joblib's: there a process that dies takes the results of all others with it; here it costs the
one file that killed it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from pianolstm.piece import printable

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
    gives a `CrashError` in place of its result while the rest goes on. `progress` shows a bar; None
    means only on a terminal. Raises RuntimeError where no process can be started.
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
    chunks = deque(paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK))
    waiting: deque[list] = deque()  # [chunk, its future]
    pool = _pool(processes)
    try:
        while chunks or waiting:
            try:
                while chunks and len(waiting) < 3 * processes:
                    waiting.append([chunks.popleft(), None])
                    waiting[-1][1] = pool.submit(_apply, function, waiting[-1][0])
                results = waiting[0][1].result()
            except BrokenProcessPool:  # all chunks in the pool are lost; the first is to blame
                pool.shutdown(wait=False, cancel_futures=True)
                results = _one_by_one(function, waiting[0][0])
                pool = _pool(processes)
                for entry in list(waiting)[1:]:
                    entry[1] = pool.submit(_apply, function, entry[0])
            waiting.popleft()
            yield from results
    finally:  # also when the reader of the results stops, or on Ctrl-C
        pool.shutdown(wait=False, cancel_futures=True)


def _one_by_one(function: Callable, chunk: Sequence[Path]) -> list:
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
            results.append(CrashError(f"{printable(path.name)}: the process that read it died"))
            pool = _pool(1)
    pool.shutdown()
    return results


def _apply(function: Callable, chunk: Sequence[Path]) -> list:
    return [function(path) for path in chunk]


def _pool(processes: int) -> ProcessPoolExecutor:
    # "spawn": a fork of a process with threads (PyTorch's, a notebook's) can hang for ever
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, context, initializer=_follow_the_parent)


def _follow_the_parent() -> None:
    """Leave Ctrl-C to the parent process, and exit if it dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
