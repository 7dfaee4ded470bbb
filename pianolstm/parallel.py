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

from tqdm import tqdm

FEW = 5_000  # files; below that, starting processes takes longer than it saves
BLOCK = 8192  # files whose results may wait at once
CHUNK = 64  # files that travel together


def map_files(
    function: Callable, paths: Sequence[Path], processes: int | None = None
) -> Iterator[object]:
    """`function(path)` for every path, in order; None for a file at which its process died.

    `processes` is 1 below 5,000 files unless given, else one for each core. With more than one,
    `function` must be importable (a module's function or a partial of one), and a script must call
    this under `if __name__ == "__main__":`; Python's message on stderr says so where it does not.
    Shows a bar on a terminal. Raises BrokenProcessPool where no process can be started.
    """
    if processes is None:
        processes = 1 if len(paths) < FEW else os.cpu_count() or 1
    results = map(function, paths) if processes == 1 else _in_processes(function, paths, processes)
    yield from tqdm(results, "reading", len(paths), unit="file", disable=None, smoothing=0.02)


def _in_processes(function: Callable, paths: Sequence[Path], processes: int) -> Iterator[object]:
    done = one_by_one = 0  # one process reads the files before `one_by_one`: which one kills it?
    while done < len(paths):
        alone = done < one_by_one
        stop = one_by_one if alone else len(paths)
        # "spawn": a fork of a process with threads (PyTorch's, a notebook's) can hang for ever
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1 if alone else processes, context, _follow_the_parent)
        pool.submit(os.getpid).result()  # raises where no process can be started at all
        try:
            while done < stop:
                block = paths[done : min(done + BLOCK, stop)]
                for result in pool.map(function, block, chunksize=1 if alone else CHUNK):
                    done += 1
                    yield result
        except BrokenProcessPool:
            if alone:
                done += 1
                yield None
            one_by_one = min(done + CHUNK * processes, len(paths))
        finally:  # also when the reader of the results stops, or on Ctrl-C
            pool.shutdown(wait=False, cancel_futures=True)


def _follow_the_parent() -> None:
    """Leave Ctrl-C to the parent process, and exit if it dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
