"""Functions as data, and the refusal to run code from elsewhere."""

import marshal
import subprocess
import sys

import pytest

from hornbeam.errors import UnsafeFileError
from hornbeam.utils import func_utils
from hornbeam.utils.generic_utils import func_dump, func_load, func_load_checked


def outer(y):
    def inner(x, z=5):
        return x * y + z

    return inner


def test_round_trip_with_defaults_and_closure():
    code, defaults, closure = func_dump(outer(10))
    assert (defaults, closure) == ((5,), (10,))
    assert func_load(code, defaults, closure)(2) == 25
    assert func_load((code, defaults, closure))(2, 0) == 20
    # As JSON gives it back: lists for tuples.
    assert func_load([code, [7], [10]])(2) == 27


def test_without_defaults_or_closure():
    dump = func_dump(lambda x: x + 1)
    assert dump[1:] == (None, None)
    assert func_load(dump)(1) == 2


def test_globals():
    def uses_global(x):
        return scale * x  # noqa: F821

    assert func_load(func_dump(uses_global), globs={"scale": 3})(2) == 6


def test_the_text_form_of_keras_2_0_is_read():
    old = marshal.dumps(outer(1).__code__).decode("raw_unicode_escape")
    assert func_load(old, (4,), (2,))(3) == 10


def test_what_is_no_bytecode():
    for text in ("", "no bytecode", "AAAA", "\u4e2d\u6587"):
        with pytest.raises(ValueError, match="no Python bytecode"):
            func_load(text)
    with pytest.raises(TypeError, match="len"):
        func_dump(len)


FOREIGN = subprocess.run(
    [
        sys.executable,
        "-c",
        "import binascii, marshal;f = lambda x: x * 1000003\n"
        "print(binascii.b2a_base64(marshal.dumps(f.__code__)).decode(), end='')",
    ],
    capture_output=True,
    text=True,
    check=True,
).stdout


def test_code_from_elsewhere_is_refused_by_default():
    with pytest.raises(UnsafeFileError, match="Lambda layer 'scale'.*safe_mode=False"):
        func_load_checked(FOREIGN, what="The Lambda layer 'scale'")
    assert issubclass(UnsafeFileError, ValueError)


def test_code_from_elsewhere_is_loaded_on_request(monkeypatch):
    with func_utils.safe_mode_scope(False):
        assert not func_utils.in_safe_mode()
        assert func_load_checked(FOREIGN)(2) == 2000006
        with func_utils.safe_mode_scope(True), pytest.raises(UnsafeFileError):
            func_load_checked(FOREIGN)
    assert func_utils.in_safe_mode()
    monkeypatch.setattr(func_utils, "_unsafe_enabled", False)
    func_utils.enable_unsafe_deserialization()
    assert func_load_checked((FOREIGN, None, None))(2) == 2000006
    with func_utils.safe_mode_scope(True), pytest.raises(UnsafeFileError):
        func_load_checked(FOREIGN)


def test_what_this_process_dumped_is_its_own_code():
    assert func_load_checked(func_dump(outer(2)))(3) == 11
