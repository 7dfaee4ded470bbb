import subprocess
import sys

import pytest

import pianolstm


@pytest.mark.parametrize("name", pianolstm.__all__)
def test_every_name_of_the_package_can_be_had(name):
    assert getattr(pianolstm, name).__module__.startswith("pianolstm.")
    assert name in dir(pianolstm)


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, pianolstm; print({'torch', 'music21', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="module 'pianolstm' has no attribute 'symphony'"):
        _ = pianolstm.symphony
