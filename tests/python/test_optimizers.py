"""Optimizers: their formulas in float64, clipping, state, schedules, and own ones."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from hornbeam import backend as K  # noqa: N812
from hornbeam import constraints, optimizers
from hornbeam.layers import Dense
from hornbeam.models import Sequential
from hornbeam.optimizers import schedules

STEPS = 7
START = [np.random.RandomState(1).randn(4, 3), np.random.RandomState(2).randn(3)]
# The loss is sum(A * w ** 2) + sum(B * w): its gradient 2 A w + B changes from step to step.
A = [np.random.RandomState(3).uniform(0.5, 2, w.shape) for w in START]
B = [np.random.RandomState(4).randn(*w.shape) for w in START]


@pytest.fixture(autouse=True)
def float64():
    former = K.floatx()
    K.set_floatx("float64")
    yield
    K.set_floatx(former)


def problem():
    params = [K.variable(w, name=f"w{i}") for i, w in enumerate(START)]
    loss = K.constant(0.0)
    for p, a, b in zip(params, A, B, strict=True):
        loss = loss + K.sum(K.constant(a) * K.square(p)) + K.sum(K.constant(b) * p)
    return params, loss


def run(optimizer, steps=STEPS, limits=None):
    params, loss = problem()
    wanted = {params[i]: c for i, c in (limits or {}).items()}
    step = K.function([], [loss], updates=optimizer.get_updates(params, wanted, loss))
    for _ in range(steps):
        step([])
    return [K.get_value(p) for p in params]


def reference(rule, steps=STEPS, clip=None):
    """Apply `rule(w, g, slots, t) -> w` to each weight; slots are dictionaries of zeros."""
    weights = [w.copy() for w in START]
    slots = [{} for _ in weights]
    for t in range(1, steps + 1):
        gradients = [2 * a * w + b for w, a, b in zip(weights, A, B, strict=True)]
        if clip:
            gradients = clip(gradients)
        weights = [rule(w, g, s, t) for w, g, s in zip(weights, gradients, slots, strict=True)]
    return weights


def slot(s, name, w):
    return s.setdefault(name, np.zeros_like(w))


def decayed(lr, decay, t):
    return lr / (1 + decay * (t - 1))


def sgd(lr=0.01, momentum=0.0, decay=0.0, nesterov=False):
    def rule(w, g, s, t):
        rate = decayed(lr, decay, t)
        s["m"] = v = momentum * slot(s, "m", w) - rate * g
        return w + (momentum * v - rate * g if nesterov else v)

    return rule


def root(a, epsilon, inside):
    return np.sqrt(a + epsilon) if inside else np.sqrt(a) + epsilon


def rmsprop(
    lr=0.001, rho=0.9, epsilon=1e-8, decay=0.0, momentum=0.0, centered=False, epsilon_inside=False
):
    def rule(w, g, s, t):
        s["a"] = a = rho * slot(s, "a", w) + (1 - rho) * g**2
        s["mean"] = rho * slot(s, "mean", w) + (1 - rho) * g
        a = a - s["mean"] ** 2 if centered else a
        step = decayed(lr, decay, t) * g / root(a, epsilon, epsilon_inside)
        s["m"] = momentum * slot(s, "m", w) + step
        return w - s["m"]

    return rule


def adagrad(lr=0.01, epsilon=1e-8, decay=0.0, initial_accumulator_value=0.0, epsilon_inside=False):
    def rule(w, g, s, t):
        s["a"] = a = s.get("a", initial_accumulator_value) + g**2
        return w - decayed(lr, decay, t) * g / root(a, epsilon, epsilon_inside)

    return rule


def adadelta(lr=1.0, rho=0.95, epsilon=1e-8, decay=0.0):
    def rule(w, g, s, t):
        s["a"] = a = rho * slot(s, "a", w) + (1 - rho) * g**2
        u = g * np.sqrt(slot(s, "d", w) + epsilon) / np.sqrt(a + epsilon)
        s["d"] = rho * s["d"] + (1 - rho) * u**2
        return w - decayed(lr, decay, t) * u

    return rule


def adam(lr=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8, decay=0.0, amsgrad=False):
    def rule(w, g, s, t):
        rate = decayed(lr, decay, t) * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        s["m"] = m = beta_1 * slot(s, "m", w) + (1 - beta_1) * g
        s["v"] = v = beta_2 * slot(s, "v", w) + (1 - beta_2) * g**2
        if amsgrad:
            s["vhat"] = v = np.maximum(slot(s, "vhat", w), v)
        return w - rate * m / (np.sqrt(v) + epsilon)

    return rule


def adamax(lr=0.002, beta_1=0.9, beta_2=0.999, epsilon=1e-8, decay=0.0):
    def rule(w, g, s, t):
        s["m"] = m = beta_1 * slot(s, "m", w) + (1 - beta_1) * g
        s["u"] = u = np.maximum(beta_2 * slot(s, "u", w), np.abs(g))
        return w - decayed(lr, decay, t) / (1 - beta_1**t) * m / (u + epsilon)

    return rule


def nadam(lr=0.002, beta_1=0.9, beta_2=0.999, epsilon=1e-8, schedule_decay=0.004):
    def mu(t):
        return beta_1 * (1 - 0.5 * 0.96 ** (t * schedule_decay))

    def rule(w, g, s, t):
        product = np.prod([mu(i) for i in range(1, t + 1)])
        s["m"] = m = beta_1 * slot(s, "m", w) + (1 - beta_1) * g
        s["v"] = v = beta_2 * slot(s, "v", w) + (1 - beta_2) * g**2
        m_hat = m / (1 - product * mu(t + 1))
        g_hat = g / (1 - product)
        m_bar = (1 - mu(t)) * g_hat + mu(t + 1) * m_hat
        return w - lr * m_bar / (np.sqrt(v / (1 - beta_2**t)) + epsilon)

    return rule


CASES = [
    (optimizers.SGD, sgd, {}),
    (optimizers.SGD, sgd, {"lr": 0.05, "momentum": 0.9}),
    (optimizers.SGD, sgd, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "decay": 0.1}),
    (optimizers.RMSprop, rmsprop, {}),
    (optimizers.RMSprop, rmsprop, {"lr": 0.02, "rho": 0.7, "epsilon": 1e-3, "decay": 0.1}),
    (optimizers.RMSprop, rmsprop, {"lr": 0.02, "momentum": 0.8, "epsilon": 1e-3}),
    (optimizers.RMSprop, rmsprop, {"lr": 0.02, "centered": True, "epsilon": 1e-3}),
    (optimizers.RMSprop, rmsprop, {"lr": 0.02, "epsilon": 1e-2, "epsilon_inside": True}),
    (optimizers.Adagrad, adagrad, {"initial_accumulator_value": 0.1, "epsilon": 1e-2}),
    (optimizers.Adagrad, adagrad, {"lr": 0.1, "epsilon": 1e-2, "epsilon_inside": True}),
    (optimizers.Adagrad, adagrad, {}),
    (optimizers.Adagrad, adagrad, {"lr": 0.1, "epsilon": 1e-3, "decay": 0.1}),
    (optimizers.Adadelta, adadelta, {}),
    (optimizers.Adadelta, adadelta, {"lr": 0.5, "rho": 0.7, "epsilon": 1e-3, "decay": 0.1}),
    (optimizers.Adam, adam, {}),
    (optimizers.Adam, adam, {"lr": 0.05, "beta_1": 0.5, "beta_2": 0.6, "decay": 0.1}),
    (optimizers.Adam, adam, {"lr": 0.05, "beta_2": 0.5, "amsgrad": True}),
    (optimizers.Adamax, adamax, {}),
    (optimizers.Adamax, adamax, {"lr": 0.05, "beta_1": 0.5, "beta_2": 0.6, "decay": 0.1}),
    (optimizers.Nadam, nadam, {}),
    (optimizers.Nadam, nadam, {"lr": 0.05, "beta_1": 0.8, "schedule_decay": 0.1}),
]


def assert_same(actual, expected, rtol=1e-9):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize(("cls", "rule", "arguments"), CASES)
def test_formula(cls, rule, arguments):
    assert_same(run(cls(**arguments)), reference(rule(**arguments)))


@pytest.mark.parametrize("floatx", ["float32", "float64"])
@pytest.mark.parametrize(("cls", "rule", "arguments"), CASES)
def test_means_of_gradients_that_are_gone_do_not_become_subnormal(cls, rule, arguments, floatx):
    K.set_floatx(floatx)
    model = Sequential([Dense(3, use_bias=False, input_shape=(5,))])
    model.compile(cls(**arguments), "mse")
    x, y = np.zeros((4, 5), floatx), np.ones((4, 3), floatx)
    model.train_on_batch(x, y)
    smallest = np.finfo(floatx).tiny
    state = model.optimizer.get_weights()
    faint = [np.full_like(s, 1.0001 * smallest) if s.shape == (5, 3) else s for s in state]
    model.optimizer.set_weights(faint)
    before = model.get_weights()
    model.fit(x, y, epochs=3, verbose=0)
    for value in model.optimizer.get_weights():
        assert ((value == 0) | (np.abs(value) >= smallest)).all()
    np.testing.assert_allclose(model.get_weights(), before, atol=1e-15)


@pytest.mark.parametrize(("cls", "rule", "arguments"), CASES)
def test_config_goes_round(cls, rule, arguments):
    original = cls(clipnorm=3.0, **arguments)
    config = optimizers.serialize(original)
    copy = optimizers.deserialize(config)
    assert type(copy) is cls
    assert optimizers.serialize(copy) == config
    assert {**config["config"], **arguments, "clipnorm": 3.0} == config["config"]


def total_norm(gradients):
    return np.sqrt(sum((g**2).sum() for g in gradients))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_begins_anew(way):
    rate = schedules.ExponentialDecay(0.1, 3, 0.5)
    for made in (
        optimizers.SGD(0.1, momentum=0.9, nesterov=True, decay=0.01, clipnorm=1.0),
        optimizers.Adam(rate, beta_1=0.8),
        optimizers.Nadam(),
    ):
        fresh = way(made)
        assert type(fresh) is type(made)
        assert fresh.get_config() == made.get_config()
        w = K.variable(np.ones(3))
        run = K.function([], [], made.get_updates(params=[w], loss=K.sum(K.square(w))))
        run([])
        again = way(made)
        assert again.get_config() == made.get_config()
        assert int(K.get_value(again.iterations)) == 0
        assert int(K.get_value(made.iterations)) == 1


@pytest.mark.parametrize("name", ["clipnorm", "global_clipnorm"])
def test_clipnorm_is_over_all_gradients(name):
    def clip(gradients):
        factor = min(1.0, 0.5 / total_norm(gradients))
        return [g * factor for g in gradients]

    actual = run(optimizers.SGD(lr=0.1, **{name: 0.5}))
    assert_same(actual, reference(sgd(0.1), clip=clip))


def test_clipnorm_per_variable():
    def clip(gradients):
        return [g * min(1.0, 0.5 / total_norm([g])) for g in gradients]

    actual = run(optimizers.SGD(lr=0.1, clipnorm_per_variable=0.5))
    assert_same(actual, reference(sgd(0.1), clip=clip))


def test_clipnorm_leaves_small_gradients_alone():
    assert_same(run(optimizers.SGD(lr=0.1, clipnorm=1e6)), reference(sgd(0.1)))


def test_clipvalue():
    actual = run(optimizers.SGD(lr=0.1, clipvalue=0.3))
    assert_same(actual, reference(sgd(0.1), clip=lambda gs: [np.clip(g, -0.3, 0.3) for g in gs]))


@pytest.mark.parametrize("by_class", [False, True])
def test_weight_decay(by_class):
    plain = adam(0.05, decay=0.1)

    def rule(w, g, s, t):
        return plain(w, g, s, t) - decayed(0.05, 0.1, t) * 0.3 * w

    cls = optimizers.AdamW if by_class else optimizers.Adam
    optimizer = cls(lr=0.05, decay=0.1, weight_decay=0.3)
    assert_same(run(optimizer), reference(rule))
    assert optimizers.deserialize(optimizers.serialize(optimizer)).weight_decay == 0.3
    assert optimizers.AdamW().weight_decay == 0.004


def test_clip_norm_function():
    g, n = K.constant(np.array([3.0, 4.0])), K.constant(5.0)
    np.testing.assert_allclose(K.eval(optimizers.clip_norm(g, 1.0, n)), [0.6, 0.8])
    np.testing.assert_allclose(K.eval(optimizers.clip_norm(g, 9.0, n)), [3.0, 4.0])
    assert optimizers.clip_norm(g, 0, n) is g


def test_constraints_are_applied_to_the_new_value():
    weights = run(
        optimizers.SGD(lr=0.1), limits={0: constraints.NonNeg(), 1: lambda w: w * 0 + 7.0}
    )
    plain = reference(sgd(0.1), steps=1)
    once = run(optimizers.SGD(lr=0.1), steps=1, limits={0: constraints.NonNeg()})
    assert_same(once, [np.maximum(plain[0], 0), plain[1]])
    assert (weights[1] == 7).all()
    assert (weights[0] >= 0).all()


def test_a_weights_own_constraint():
    params, loss = problem()
    params[1].constraint = constraints.NonNeg()
    step = K.function([], [], updates=optimizers.SGD(lr=0.1).get_updates(loss=loss, params=params))
    step([])
    plain = reference(sgd(0.1), steps=1)
    assert_same([K.get_value(p) for p in params], [plain[0], np.maximum(plain[1], 0)])


@pytest.mark.parametrize("form", ["keras 2.0", "keywords", "later", "no constraints"])
def test_forms_of_get_updates(form):
    params, loss = problem()
    optimizer = optimizers.Adam(lr=0.1)
    if form == "keras 2.0":
        updates = optimizer.get_updates(params, {}, loss)
    elif form == "keywords":
        updates = optimizer.get_updates(loss=loss, params=params)
    elif form == "later":
        updates = optimizer.get_updates(loss, params)
    else:
        updates = optimizer.get_updates(params, loss=loss)
    assert updates is optimizer.updates
    step = K.function([], [], updates=updates)
    for _ in range(STEPS):
        step([])
    assert_same([K.get_value(p) for p in params], reference(adam(0.1)))


def test_a_weight_without_a_gradient_is_named():
    params, loss = problem()
    extra = K.variable(np.zeros(3), name="lonely")
    with pytest.raises(ValueError, match="does not depend on these weights: lonely"):
        optimizers.SGD().get_updates([*params, extra], {}, loss)


def test_learning_rate_may_be_changed_between_steps():
    params, loss = problem()
    optimizer = optimizers.SGD(lr=0.5)
    step = K.function([], [], updates=optimizer.get_updates(params, {}, loss))
    weights = [w.copy() for w in START]
    for rate, change in (
        (0.5, None),
        (0.25, lambda: K.set_value(optimizer.lr, 0.25)),
        (0.125, lambda: setattr(optimizer, "lr", 0.125)),
        (0.0625, lambda: setattr(optimizer, "learning_rate", 0.0625)),
    ):
        if change:
            change()
        assert K.get_value(optimizer.learning_rate) == rate
        step([])
        weights = [w - rate * (2 * a * w + b) for w, a, b in zip(weights, A, B, strict=True)]
        assert_same([K.get_value(p) for p in params], weights)


def test_learning_rate_is_another_name_of_lr():
    assert optimizers.Adam(learning_rate=0.3).get_config()["lr"] == 0.3


def test_float32_hyper_parameters_are_written_as_short_decimals():
    K.set_floatx("float32")
    config = optimizers.Adam(lr=0.0123).get_config()
    assert (config["lr"], config["beta_1"], config["beta_2"]) == (0.0123, 0.9, 0.999)


def resumed(cls, arguments, transform=lambda values: values):
    """Train some steps, move weights and state to new objects, train the rest."""
    params, loss = problem()
    first = cls(**arguments)
    step = K.function([], [], updates=first.get_updates(params, {}, loss))
    for _ in range(3):
        step([])
    others, other_loss = problem()
    second = cls(**arguments)
    updates = second.get_updates(others, {}, other_loss)
    second.set_weights(transform(first.get_weights()))
    for p, q in zip(params, others, strict=True):
        K.set_value(q, K.get_value(p))
    step = K.function([], [], updates=updates)
    for _ in range(STEPS - 3):
        step([])
    return [K.get_value(q) for q in others]


@pytest.mark.parametrize(("cls", "rule", "arguments"), CASES)
def test_state_goes_round(cls, rule, arguments):
    assert_same(resumed(cls, arguments), reference(rule(**arguments)))


@pytest.mark.parametrize(
    ("cls", "arguments", "counts"),
    [
        (optimizers.SGD, {}, 3),
        (optimizers.RMSprop, {}, 2),
        (optimizers.RMSprop, {"decay": 0.1}, 3),
        (optimizers.Adagrad, {}, 2),
        (optimizers.Adadelta, {}, 4),
        (optimizers.Adam, {}, 5),
        (optimizers.Adamax, {}, 5),
        (optimizers.Nadam, {}, 6),
    ],
)
def test_number_of_state_arrays(cls, arguments, counts):
    optimizer = cls(**arguments)
    assert optimizer.get_weights() == []
    params, loss = problem()
    optimizer.get_updates(params, {}, loss)
    shapes = [w.shape for w in optimizer.get_weights()]
    assert len(shapes) == counts
    slots = [w.shape for w in START]
    assert shapes[-2:] == slots


def test_state_of_other_keras_versions():
    # Keras 2.2 to 2.11 keep the count first, and placeholders of shape (1,) for Adam's vhat.
    later = lambda values: [np.array(3), *values]  # noqa: E731
    assert_same(resumed(optimizers.RMSprop, {}, later), reference(rmsprop()))
    vhat = lambda values: [*values, np.zeros(1), np.zeros(1)]  # noqa: E731
    assert_same(resumed(optimizers.Adam, {"lr": 0.1}, vhat), reference(adam(0.1)))


def test_nadam_state_of_keras_2_starts_its_schedule_anew():
    params, loss = problem()
    optimizer = optimizers.Nadam()
    optimizer.get_updates(params, {}, loss)
    values = [np.full(np.shape(w), 0.5) for w in optimizer.get_weights()]
    optimizer.set_weights([np.array(3.0), *values[2:]])
    found = optimizer.get_weights()
    assert (found[0], found[1]) == (3, 1.0)
    assert all((w == 0.5).all() for w in found[2:])


def test_state_that_does_not_fit():
    params, loss = problem()
    optimizer = optimizers.Adam()
    optimizer.get_updates(params, {}, loss)
    with pytest.raises(ValueError, match="expected 5 arrays"):
        optimizer.set_weights(optimizer.get_weights()[:-1])
    wrong = optimizer.get_weights()
    wrong[1] = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        optimizer.set_weights(wrong)


def test_an_own_optimizer_in_the_style_of_keras_2():
    class SignSGD(optimizers.Optimizer):
        def __init__(self, lr=0.01, **kwargs):
            super().__init__(**kwargs)
            self.lr = K.variable(lr)
            self.iterations = K.variable(0.0)

        def get_updates(self, params, constraints, loss):
            gradients = self.get_gradients(loss, params)
            self.updates = [K.update_add(self.iterations, 1)]
            for p, g in zip(params, gradients, strict=True):
                self.updates.append(K.update(p, p - self.lr * K.sign(g)))
            return self.updates

        def get_config(self):
            return {"lr": float(K.get_value(self.lr)), **super().get_config()}

    optimizer = SignSGD(lr=0.1, clipvalue=1.0)
    assert_same(run(optimizer), reference(lambda w, g, s, t: w - 0.1 * np.sign(g)))
    assert K.get_value(optimizer.iterations) == STEPS
    config = optimizers.serialize(optimizer)
    copy = optimizers.deserialize(config, custom_objects={"SignSGD": SignSGD})
    assert copy.get_config() == {"lr": 0.1, "clipvalue": 1.0}


def test_an_own_optimizer_by_new_values():
    class Plain(optimizers.Optimizer):
        def __init__(self, lr, **kwargs):
            self._set_lr(lr, kwargs)
            super().__init__(**kwargs)

        def new_values(self, params, gradients):
            for p, g in zip(params, gradients, strict=True):
                yield p - self.decayed_lr() * g

    assert_same(run(Plain(0.1)), reference(sgd(0.1)))


def test_get():
    for name in ("sgd", "SGD", "RMSprop", "rmsprop", "ADAM", "nadam", "AdaDelta"):
        assert type(optimizers.get(name)).__name__.lower() == name.lower()
    optimizer = optimizers.SGD()
    assert optimizers.get(optimizer) is optimizer
    with pytest.raises(ValueError, match="Did you mean 'rmsprop'"):
        optimizers.get("rmsprob")
    for wrong in (3, None, optimizers.SGD):
        with pytest.raises(ValueError, match="Could not interpret optimizer"):
            optimizers.get(wrong)


def test_unknown_arguments():
    with pytest.raises(TypeError, match="Did you mean 'momentum'"):
        optimizers.SGD(momentun=0.9)
    with pytest.raises(ValueError, match="only one"):
        optimizers.SGD(clipnorm=1.0, global_clipnorm=1.0)
    assert optimizers.SGD(name="sgd", clipnorm=None).get_config()["lr"] == 0.01


SCHEDULES = [
    (schedules.ExponentialDecay(0.5, 4, 0.3), lambda t: 0.5 * 0.3 ** (t / 4)),
    (schedules.ExponentialDecay(0.5, 4, 0.3, staircase=True), lambda t: 0.5 * 0.3 ** (t // 4)),
    (schedules.InverseTimeDecay(0.5, 4, 2.0), lambda t: 0.5 / (1 + 2 * t / 4)),
    (schedules.InverseTimeDecay(0.5, 4, 2.0, True), lambda t: 0.5 / (1 + 2 * (t // 4))),
    (
        schedules.PolynomialDecay(0.5, 8, 0.1, power=2.0),
        lambda t: 0.4 * (1 - min(t, 8) / 8) ** 2 + 0.1,
    ),
    (
        schedules.CosineDecay(0.5, 8, alpha=0.2),
        lambda t: 0.5 * (0.8 * 0.5 * (1 + np.cos(np.pi * min(t, 8) / 8)) + 0.2),
    ),
    (
        schedules.CosineDecay(0.1, 8, warmup_target=0.5, warmup_steps=4),
        lambda t: 0.1 + 0.1 * t if t < 4 else 0.25 * (1 + np.cos(np.pi * min((t - 4) / 8, 1))),
    ),
    (
        schedules.PiecewiseConstantDecay([2, 5], [0.4, 0.2, 0.1]),
        lambda t: 0.4 if t <= 2 else 0.2 if t <= 5 else 0.1,
    ),
]


@pytest.mark.parametrize(("schedule", "formula"), SCHEDULES)
def test_schedule(schedule, formula):
    t = K.placeholder(shape=())
    rate = K.function([t], [schedule(t)])
    for step in range(15):
        np.testing.assert_allclose(rate([step])[0], formula(step), rtol=1e-9, atol=1e-12)
    copy = type(schedule).from_serialized(schedule.serialize())
    assert copy.get_config() == schedule.get_config()


@pytest.mark.parametrize(("schedule", "formula"), SCHEDULES)
def test_schedule_as_learning_rate(schedule, formula):
    expected = reference(lambda w, g, s, t: w - formula(t - 1) * g)
    assert_same(run(optimizers.SGD(lr=schedule)), expected)
    config = optimizers.serialize(optimizers.SGD(lr=schedule))
    assert_same(run(optimizers.deserialize(config)), expected)
    assert_same(resumed(optimizers.RMSprop, {"lr": schedule}), run(optimizers.RMSprop(schedule)))
