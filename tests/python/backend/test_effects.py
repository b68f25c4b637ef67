"""What a step does beside computing: showing values; and the session that computes them."""

import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.layers import Dense, Input, Lambda
from hornbeam.models import Model, Sequential

X = np.arange(12.0).reshape(4, 3)


def test_a_printed_tensor_is_the_same_tensor(capfd):
    x = K.placeholder((None, 3))
    printed = K.print_tensor(x, message="x is ")
    (found,) = K.function([x], [K.sum(printed * 2, axis=1)])([X])
    np.testing.assert_array_equal(found, 2 * X.sum(axis=1))
    assert capfd.readouterr().err == f"x is {X.astype('float32')}\n"


def test_it_is_printed_at_each_call_and_only_where_it_is_needed(capfd):
    x = K.placeholder((2,))
    printed = K.print_tensor(x)
    other = K.function([x], [x + 1])
    run = K.function([x], [K.square(printed), printed])
    assert capfd.readouterr().err == ""
    other([[1, 2]])
    assert capfd.readouterr().err == ""
    for _ in range(3):
        run([[1, 2]])
    assert capfd.readouterr().err == "[1. 2.]\n" * 3


def test_a_constant_is_printed_at_each_call_too(capfd):
    run = K.function([], [K.print_tensor(K.constant([1, 2], "int32"), "c: ")])
    run([])
    run([])
    assert capfd.readouterr().err == "c: [1 2]\n" * 2


def test_each_call_is_a_print_of_its_own(capfd):
    x = K.placeholder(())
    K.function([x], [K.print_tensor(x, "a") + K.print_tensor(x, "a")])([3.0])
    assert capfd.readouterr().err == "a3.0\n" * 2


def test_gradients_pass_through():
    x = K.variable([1.0, 2.0])
    (gradient,) = K.gradients(K.sum(K.square(K.print_tensor(x))), [x])
    np.testing.assert_array_equal(K.eval(gradient), [2, 4])


def test_printing_from_training_steps(capfd):
    a = Input((3,))
    model = Model(a, Dense(2)(Lambda(lambda x: K.print_tensor(x, "batch "))(a)))
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((4, 2)), batch_size=2, epochs=3, shuffle=False, verbose=0)
    lines = capfd.readouterr().err
    assert lines.count("batch ") == 6
    assert lines.startswith(f"batch {X[:2].astype('float32')}\n")


def test_printing_within_a_loop(capfd):
    def step(x, states):
        total = states[0] + K.print_tensor(x, "step ")
        return total, [total]

    x = K.placeholder((1, 3, 1))
    last, _, _ = K.rnn(step, x, [K.zeros_like(x[:, 0])])
    K.function([x], [last])([[[[1], [2], [3]]]])
    assert capfd.readouterr().err == "step [[1.]]\nstep [[2.]]\nstep [[3.]]\n"


def test_a_session_computes_what_is_fed():
    x, y = K.placeholder((2,)), K.variable([5.0, 6.0])
    session = K.get_session()
    assert session is K.get_session()
    np.testing.assert_array_equal(session.run(x + y, feed_dict={x: [1, 2]}), [6, 8])
    total, again = session.run([K.sum(x), y], {x: [1, 2]})
    assert total == 3
    np.testing.assert_array_equal(again, [5, 6])
    assert isinstance(session.run(K.sum(y)), np.float32)


def test_a_session_takes_the_learning_phase():
    x = K.placeholder((100,))
    dropped = K.in_train_phase(K.zeros_like(x), x)
    session = K.get_session()
    for phase in (0, 1):
        found = session.run(dropped, feed_dict={x: np.ones(100), K.learning_phase(): phase})
        np.testing.assert_array_equal(found, np.ones(100) * (1 - phase))


def test_sessions_of_tensorflow_are_refused():
    with K.Session() as session:
        before = K.get_session()
        K.set_session(session)
        assert K.get_session() is session
        K.set_session(before)
    with pytest.raises(TypeError, match="HORNBEAM_NUM_THREADS"):
        K.set_session(object())


def test_variables_need_no_initialization():
    K.manual_variable_initialization(True)
    model = Sequential([Dense(2, input_shape=(3,))])
    assert np.abs(model.get_weights()[0]).max() > 0
    K.manual_variable_initialization(False)
