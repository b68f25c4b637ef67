"""What importing the utilities brings with it, and that every public name is there."""

import subprocess
import sys

import pytest

from hornbeam import utils


@pytest.mark.parametrize("name", utils.__all__)
def test_every_public_name(name):
    assert getattr(utils, name) is not None
    assert name in dir(utils)


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="get_files"):
        utils.get_files  # noqa: B018


def test_what_is_not_needed_is_not_imported():
    code = (
        "import sys, hornbeam.utils\n"
        "print(sorted(m for m in ('h5py', 'multiprocessing', 'urllib.request', 'tarfile', 'PIL')"
        " if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
