import numpy as np
import pytest
from python.backend.checking import check_gradient, compute

from hornbeam import backend as K

RNG = np.random.RandomState(5)


def values(*shape):
    return RNG.uniform(-1, 1, shape).astype("float32")


@pytest.fixture(autouse=True)
def phase():
    yield
    K.clear_session()


def test_function_checks_its_arguments():
    x = K.placeholder((2,))
    run = K.function([x], [x * 2])
    assert isinstance(run, K.Function)
    assert run([[1, 2]])[0].tolist() == [2, 4]
    with pytest.raises(TypeError, match="list or tuple"):
        run(np.ones(2))
    with pytest.raises(ValueError, match="1 inputs, 2"):
        run([np.ones(2), np.ones(2)])
    for arguments in ((x, [x]), ([x], x), ([x], [x], x)):
        with pytest.raises(TypeError, match="list or tuple"):
            K.function(*arguments)
    with pytest.raises(TypeError, match="variable can be updated"):
        K.function([x], [x], updates=[(x, x)])
    with pytest.raises(TypeError, match="pair"):
        K.function([x], [x], updates=[x])


def test_updates_see_the_values_before():
    x, y = K.variable(1.0), K.variable(2.0)
    run = K.function([], [x + y], updates=[(x, y), (y, x)])
    assert run([])[0] == 3
    assert K.batch_get_value([x, y]) == [2, 1]


def test_a_failed_call_changes_nothing():
    x, v = K.placeholder((None, 3)), K.variable(np.zeros((2, 3)))
    run = K.function([x], [K.sum(v)], updates=[(v, v + x)])
    with pytest.raises(ValueError):
        run([np.ones((5, 3))])
    np.testing.assert_array_equal(K.get_value(v), np.zeros((2, 3)))
    run([np.ones((2, 3))])
    np.testing.assert_array_equal(K.get_value(v), np.ones((2, 3)))


def test_learning_phase_may_be_fed():
    x = K.placeholder((2,))
    y = K.in_train_phase(x * 2, lambda: x + 10)
    run = K.function([x, K.learning_phase()], [y, K.in_test_phase(x, x * 0)])
    assert [r.tolist() for r in run([[1, 2], 1])] == [[2, 4], [0, 0]]
    assert [r.tolist() for r in run([[1, 2], 0])] == [[11, 12], [1, 2]]
    assert K.function([x], [y])([[1, 2]])[0].tolist() == [11, 12]
    assert y.uses_learning_phase


def test_learning_phase_may_be_fixed():
    x = K.placeholder((2,))
    K.set_learning_phase(1)
    assert K.learning_phase() == 1
    y = K.in_train_phase(x * 2, x)
    assert not y.uses_learning_phase
    assert K.function([x, K.learning_phase()], [y])([[1, 2], 0])[0].tolist() == [2, 4]
    K.set_learning_phase(0)
    assert K.function([x], [K.in_train_phase(x * 2, x)])([[1, 2]])[0].tolist() == [1, 2]
    with pytest.raises(ValueError, match="0 or 1"):
        K.set_learning_phase(2)


def test_training_argument_decides():
    x = K.placeholder((2,))
    assert K.in_train_phase(x * 2, x, training=0) is x
    assert not K.in_train_phase(x * 2, x, training=True).uses_learning_phase
    by_tensor = K.in_train_phase(x * 2, x, training=K.variable(1) > 0)
    assert K.function([x], [by_tensor])([[1, 2]])[0].tolist() == [2, 4]


def test_switch():
    x, y = values(3, 4), values(3, 4)
    for condition in (True, False, 1, 0):
        found = compute(lambda a, b, c=condition: K.switch(c, a, b), x, y)
        np.testing.assert_array_equal(found, x if condition else y)
    rows = np.array([1, 0, 1], "float32")
    found = compute(lambda c, a, b: K.switch(c, lambda: a, lambda: b), rows, x, y)
    np.testing.assert_array_equal(found, np.where(rows[:, None], x, y))
    check_gradient(lambda a, b: K.switch(K.constant(rows), a, b), x, y)
    assert compute(lambda a: K.switch(K.greater(a, 0), a, 0.0), x).min() == 0


def test_gradients():
    x, y = K.variable(3.0), K.variable(2.0)
    gradients = K.gradients(x * x * y, [x, y])
    assert K.function([], gradients)([]) == [12, 9]
    assert K.gradients(x * 2, [y]) == [None]
    both = K.gradients([x * 2, x * 3], x)
    assert K.eval(both[0]) == 5
    middle = x * 2
    assert K.eval(K.gradients(middle * middle, [middle])[0]) == 12


def test_gradients_of_gradients():
    x = K.variable(2.0)
    first = K.gradients(K.pow(x, 3), [x])[0]
    assert abs(K.eval(K.gradients(first, [x])[0]) - 12) < 1e-5


def test_stop_gradient():
    x = K.variable(3.0)
    assert K.eval(K.gradients(x * K.stop_gradient(x), [x])[0]) == 3
    a, b = K.stop_gradient([x, x * 2])
    assert (K.eval(a), K.eval(b)) == (3, 6)


def cell(kernel, recurrent):
    def step(x, states):
        h = K.tanh(K.dot(x, K.constant(kernel)) + K.dot(states[0], K.constant(recurrent)))
        return h, [h]

    return step


def by_loop(x, h, kernel, recurrent, mask=None, backwards=False):
    outputs = []
    steps = range(x.shape[1])
    for t in reversed(steps) if backwards else steps:
        new = np.tanh(x[:, t] @ kernel + h @ recurrent)
        h = new if mask is None else np.where(mask[:, t, None], new, h)
        outputs.append(h)
    return h, np.stack(outputs, 1)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("masked", [None, 2, 3])
def test_rnn(backwards, masked, unroll):
    x, h, kernel, recurrent = values(3, 4, 2), values(3, 5), values(2, 5), values(5, 5)
    mask = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], "float32")
    expected = by_loop(x, h, kernel, recurrent, None if masked is None else mask, backwards)

    def run(a, s, m):
        if masked is None:
            m = None
        elif masked == 3:
            m = K.expand_dims(m)
        last, outputs, states = K.rnn(
            cell(kernel, recurrent), a, [s], go_backwards=backwards, mask=m, unroll=unroll
        )
        return [last, outputs, *states]

    last, outputs, state = compute(run, x, h, mask)
    np.testing.assert_allclose(last, expected[0], atol=1e-6)
    np.testing.assert_allclose(outputs, expected[1], atol=1e-6)
    np.testing.assert_allclose(state, expected[0], atol=1e-6)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_rnn_gradient(backwards, unroll):
    x, h, kernel, recurrent = values(2, 3, 2), values(2, 3), values(2, 3), values(3, 3)
    mask = K.constant([[1, 1, 0], [0, 1, 1]], dtype="float64")

    def run(a, s, w, u):
        def step(t, states):
            new = K.tanh(K.dot(t, w) + K.dot(states[0], u))
            return new, [new]

        last, outputs, _ = K.rnn(step, a, [s], go_backwards=backwards, mask=mask, unroll=unroll)
        return K.concatenate([outputs, K.expand_dims(last, 1)], axis=1)

    check_gradient(run, x, h, kernel, recurrent)


def test_rnn_over_any_number_of_steps():
    kernel, recurrent = values(2, 5), values(5, 5)
    x, h = K.placeholder((None, None, 2)), K.placeholder((None, 5))
    last, outputs, _ = K.rnn(cell(kernel, recurrent), x, [h])
    run = K.function([x, h], [last, outputs])
    for shape in ((3, 4), (2, 1), (1, 9)):
        data, state = values(*shape, 2), values(shape[0], 5)
        expected = by_loop(data, state, kernel, recurrent)
        for found, wanted in zip(run([data, state]), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("unroll", [False, True])
def test_masked_rnn_without_states_repeats_its_output(unroll):
    x = values(2, 4, 3)
    mask = np.array([[0, 1, 0, 1], [1, 0, 0, 1]], "float32")

    def run(a, m):
        return K.rnn(lambda t, s: (t * 2, []), a, [], mask=m, unroll=unroll)[1]

    expected = np.zeros((2, 4, 3))
    for b in range(2):
        held = np.zeros(3)
        for t in range(4):
            held = 2 * x[b, t] if mask[b, t] else held
            expected[b, t] = held
    np.testing.assert_allclose(compute(run, x, mask), expected, rtol=1e-6)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_fused_rnn_is_rnn(masked, backwards):
    x, h, recurrent = values(3, 4, 5), values(3, 5), values(5, 5)
    mask = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], "float32")

    def fused(p, s, m):
        outputs, states = K.fused_rnn(
            "simple",
            p,
            K.constant(recurrent),
            [s],
            "tanh",
            "sigmoid",
            mask=m if masked else None,
            go_backwards=backwards,
        )
        return [outputs, *states]

    last, outputs = by_loop(x, h, np.eye(5), recurrent, mask if masked else None, backwards)
    found = compute(fused, x, h, mask)
    np.testing.assert_allclose(found[0], outputs, atol=1e-6)
    np.testing.assert_allclose(found[1], last, atol=1e-6)


def test_rnn_without_states_and_with_constants():
    x = values(2, 3, 4)

    def step(a, states):
        return a * states[-1], []

    last, outputs = compute(lambda t: K.rnn(step, t, [], constants=[K.constant(2.0)])[:2], x)
    np.testing.assert_allclose(outputs, x * 2, rtol=1e-6)
    np.testing.assert_allclose(last, x[:, -1] * 2, rtol=1e-6)


def test_bad_arguments_of_rnn():
    with pytest.raises(ValueError, match="time steps"):
        K.rnn(lambda x, s: (x, []), K.placeholder((2, None, 3)), [], unroll=True)
    with pytest.raises(ValueError, match="0 states, not 1"):
        K.rnn(lambda x, s: (x, []), K.placeholder((2, 3, 3)), [K.placeholder((2, 3))])
    with pytest.raises(ValueError, match="3 axes"):
        K.rnn(lambda x, s: (x, []), K.placeholder((2, 3)), [])


@pytest.mark.parametrize("steps", [4, 1])
def test_map_over_any_number_of_elements(steps):
    x = K.placeholder((None, 3))
    data = values(steps, 3)
    functions = [
        K.map_fn(lambda e: K.sum(e) * e, x),
        K.foldl(lambda a, e: a * 2 + e, x),
        K.foldr(lambda a, e: a * 2 + e, x),
        *K.map_fn(lambda pair: [pair[0] + pair[1], K.max(pair[0])], [x, x * 2]),
    ]
    mapped, left, right, both, top = K.function([x], functions)([data])
    np.testing.assert_allclose(mapped, data.sum(1, keepdims=True) * data, rtol=1e-5)
    expected = data[0]
    for row in data[1:]:
        expected = expected * 2 + row
    np.testing.assert_allclose(left, expected, rtol=1e-5)
    expected = data[-1]
    for row in data[-2::-1]:
        expected = expected * 2 + row
    np.testing.assert_allclose(right, expected, rtol=1e-5)
    np.testing.assert_allclose(both, data * 3, rtol=1e-5)
    np.testing.assert_allclose(top, data.max(1), rtol=1e-6)


def test_map_and_folds():
    x = values(4, 3)
    np.testing.assert_allclose(
        compute(lambda t: K.map_fn(lambda e: K.sum(e), t), x), x.sum(1), atol=1e-6
    )
    np.testing.assert_allclose(
        compute(lambda t: K.foldl(lambda a, e: a * 2 + e, t), x),
        ((x[0] * 2 + x[1]) * 2 + x[2]) * 2 + x[3],
        atol=1e-5,
    )
    np.testing.assert_allclose(
        compute(lambda t: K.foldr(lambda a, e: a * 2 + e, t), x),
        ((x[3] * 2 + x[2]) * 2 + x[1]) * 2 + x[0],
        atol=1e-5,
    )
    start = K.zeros((3,))
    np.testing.assert_allclose(
        compute(lambda t: K.foldl(lambda a, e: a + e, t, start), x), x.sum(0), atol=1e-6
    )


def test_an_argument_may_be_an_update():
    x = K.placeholder((2, 3))
    plain, flat = K.zeros((2, 3)), K.zeros((6,))
    data = values(2, 3)
    K.function([x], [], [(plain, x), (flat, K.reshape(x, (6,)))])([data])
    np.testing.assert_array_equal(K.get_value(plain), data)
    np.testing.assert_array_equal(K.get_value(flat), data.ravel())
