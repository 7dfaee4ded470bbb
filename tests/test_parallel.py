import os
import subprocess
import sys
from pathlib import Path

import pytest

from pianolstm.parallel import CHUNK, map_files

PATHS = [Path(f"{i}.mid") for i in range(3 * CHUNK + 7)]


def name_of(path):
    return path.stem


def name_or_death(path):
    if path.stem in ("5", "200", "201"):
        os._exit(1)  # as a fault inside a C library would
    return path.stem


@pytest.mark.parametrize("processes", [1, 2, None])
def test_results_come_in_order(processes):
    assert list(map_files(name_of, PATHS, processes)) == [path.stem for path in PATHS]


def test_a_file_that_kills_its_process_is_named_and_the_rest_goes_on():
    results = list(map_files(name_or_death, PATHS, processes=2))
    died = {5, 200, 201}
    assert results == [None if i in died else path.stem for i, path in enumerate(PATHS)]


def test_a_script_without_a_main_guard_is_told_so(tmp_path, songs_folder):
    script = tmp_path / "script.py"
    script.write_text(
        "from pianolstm.store import build_store\n"
        f"build_store({str(songs_folder)!r}, {str(tmp_path / 'out')!r}, processes=2)\n"
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "if __name__ == '__main__':" in result.stderr  # Python says it


def test_a_reader_may_stop_early():
    results = map_files(name_of, PATHS, processes=2)
    assert next(results) == "0"
    results.close()
