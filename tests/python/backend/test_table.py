"""Every function of Keras 2's backend over random shapes and types: values and gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from python.backend import image_table  # noqa: F401 - enters its rows
from python.backend.checking import compute
from python.backend.table import ROWS

from hornbeam import backend as K

#: Keras 2.0.5's names that take part in no computation on given arrays, and their tests.
ELSEWHERE = {
    "test_control.py": "Function function gradients learning_phase set_learning_phase",
    "test_ctc.py": "ctc_batch_cost ctc_decode",
    "test_effects.py": "print_tensor get_session set_session manual_variable_initialization",
    "test_random.py": "dropout random_normal random_uniform random_binomial truncated_normal",
    "test_variables.py": (
        "get_uid reset_uids clear_session variable is_keras_tensor placeholder int_shape dtype "
        "eval random_uniform_variable random_normal_variable update update_add update_sub "
        "moving_average_update get_value batch_get_value set_value batch_set_value is_sparse "
        "get_variable_shape"
    ),
}
#: Those that ARCHITECTURE.md says are left out.
ABSENT = "ctc_label_dense_to_sparse"
NAMES = """
get_uid reset_uids clear_session manual_variable_initialization learning_phase
set_learning_phase get_session set_session is_sparse to_dense variable constant is_keras_tensor
placeholder shape int_shape ndim dtype eval zeros ones eye zeros_like ones_like identity
random_uniform_variable random_normal_variable count_params cast update update_add update_sub
moving_average_update dot batch_dot transpose gather max min sum prod cumsum cumprod var std
mean any all argmax argmin square abs sqrt exp log logsumexp round sign pow clip equal not_equal
greater greater_equal less less_equal maximum minimum sin cos normalize_batch_in_training
batch_normalization concatenate reshape permute_dimensions resize_images resize_volumes
repeat_elements repeat arange tile flatten batch_flatten expand_dims squeeze temporal_padding
spatial_2d_padding spatial_3d_padding stack one_hot reverse get_value batch_get_value set_value
batch_set_value get_variable_shape print_tensor Function function gradients stop_gradient rnn
switch in_train_phase in_test_phase relu elu softmax softplus softsign categorical_crossentropy
sparse_categorical_crossentropy binary_crossentropy sigmoid hard_sigmoid tanh dropout
l2_normalize in_top_k conv1d conv2d conv2d_transpose separable_conv2d conv3d pool2d pool3d
bias_add random_normal random_uniform random_binomial truncated_normal ctc_label_dense_to_sparse
ctc_batch_cost ctc_decode map_fn foldl foldr local_conv1d local_conv2d
""".split()
#: Error against float64, relative to the largest element.
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
DRAWS = 4
STEP = 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_no_function_is_missing(name):
    if name in ABSENT.split():
        assert not hasattr(K, name)
        return
    assert callable(getattr(K, name))
    files = [file for file, names in ELSEWHERE.items() if name in names.split()]
    assert (name in ROWS) != bool(files), f"{name} needs one row"
    for file in files:
        assert f"K.{name}" in (Path(__file__).parent / file).read_text()


def calls(name):
    for draw in range(DRAWS):
        yield ROWS[name](np.random.default_rng([draw, *name.encode()])), draw


def cast(array: np.ndarray, dtype: str) -> np.ndarray:
    """A float array as another type; one of integers, such as labels, is left as it is."""
    return array.astype(dtype) if array.dtype.kind == "f" else array


def assert_close(found, expected, dtype):
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected.astype("float64")).max(initial=0.0)))
    allowed = TOLERANCE.get(dtype, 0.0) * scale
    np.testing.assert_allclose(found.astype("float64"), expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("name", ROWS)
def test_value(name):
    for call, draw in calls(name):
        for dtype in call.dtypes:
            arrays = [cast(a, dtype) for a in call.arrays]
            wide = [a.astype("float64") if a.dtype.kind == "f" else a for a in arrays]
            expected = call.formula(*wide)
            assert_close(np.asarray(compute(call.function, *arrays)), expected, dtype)
            if draw % 2:
                assert_close(of_unknown_shapes(call, arrays), expected, dtype)


def of_unknown_shapes(call, arrays):
    """The result where a graph knows no more than the number of axes."""
    xs = [
        K.placeholder(shape=a.shape if i in call.known else (None,) * a.ndim, dtype=a.dtype.name)
        for i, a in enumerate(arrays)
    ]
    return np.asarray(K.function(xs, [call.function(*xs)])(arrays)[0])


@pytest.mark.parametrize("name", ROWS)
def test_gradient(name):
    """Along a direction drawn at random, in float64."""
    for call, draw in calls(name):
        if not call.gradient:
            continue
        random = np.random.default_rng(draw)
        xs = [K.placeholder(shape=a.shape, dtype=a.dtype.name) for a in call.arrays]
        y = call.function(*xs)
        value = K.function(xs, [y])(call.arrays)[0]
        loss = K.sum(y * K.constant(random.normal(size=value.shape), dtype="float64"))
        moved = [i for i, a in enumerate(call.arrays) if a.dtype.kind == "f"]
        run = K.function(xs, [loss, *K.gradients(loss, [xs[i] for i in moved])])
        gradients = run(call.arrays)[1:]
        for i, gradient in zip(moved, gradients, strict=True):
            direction = random.normal(size=gradient.shape)
            losses = []
            for sign in (STEP, -STEP):
                arrays = list(call.arrays)
                arrays[i] = arrays[i] + sign * direction
                losses.append(run(arrays)[0])
            difference = (losses[0] - losses[1]) / (2 * STEP)
            slope = float((gradient * direction).sum())
            assert abs(difference - slope) <= 1e-6 * max(1, abs(difference)), f"argument {i}"
