import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.engine import Input, InputSpec, Layer
from hornbeam.layers import Dense, Dropout, Embedding, Lambda, Masking, TimeDistributed, add
from hornbeam.models import Model, Sequential


class Scale(Layer):
    """A layer as users write it: no compute_output_shape, no config."""

    def build(self, input_shape):
        self.factor = self.add_weight(
            shape=input_shape[1:], initializer="ones", name="factor", regularizer="l2"
        )
        super().build(input_shape)

    def call(self, inputs):
        return inputs * self.factor


def test_names():
    K.clear_session()
    assert [Dense(2).name, Dense(2).name, Scale().name] == ["dense_1", "dense_2", "scale_1"]
    assert Dense(2, name="x").name == "x"

    class MyGRUCell2D(Layer):
        pass

    class _Private(Layer):
        pass

    assert MyGRUCell2D().name == "my_gru_cell2d_1"
    assert _Private().name.startswith("private__private")


def test_custom_layer():
    layer = Scale()
    x = Input((3,))
    y = layer(x)
    assert layer.built
    assert K.int_shape(y) == (None, 3)
    assert [w.name for w in layer.weights] == [f"{layer.name}/factor:0"]
    assert layer.count_params() == 3
    layer.set_weights([np.array([1, 2, 3])])
    out = Model(x, y).predict(np.ones((2, 3)))
    np.testing.assert_array_equal(out, [[1, 2, 3]] * 2)
    assert abs(K.eval(layer.losses[0]) - 0.01 * 14) < 1e-6


def test_losses_exist_after_build_alone():
    layer = Dense(2, kernel_regularizer="l2")
    layer.build((None, 3))
    assert len(layer.losses) == 1
    assert len(layer.get_losses_for(None)) == 1


def test_activity_loss_is_added_when_called_on_a_variable():
    layer = Dense(2, activity_regularizer="l2")
    x = K.variable(np.ones((2, 3)))
    layer(x)
    assert len(layer.losses) == 1
    assert len(layer.get_losses_for(x)) == 1
    assert layer.get_losses_for(None) == []
    assert K.eval(layer.losses[0]) > 0


def test_unknown_keyword():
    with pytest.raises(TypeError, match="input_shap.*Did you mean 'input_shape'"):
        Scale(input_shap=(3,))

    class Own(Layer):
        def __init__(self, momentum, **kwargs):
            super().__init__(**kwargs)

    with pytest.raises(TypeError, match="Did you mean 'momentum'"):
        Own(1, momentun=2)


def test_add_weight():
    layer = Layer()
    layer.add_weight("a", (2, 3))
    layer.add_weight("b", (2,), initializer="zeros", trainable=False)
    layer.add_weight((4,), initializer="ones", name="c", dtype="float64")
    assert [K.int_shape(w) for w in layer.weights] == [(2, 3), (4,), (2,)]
    assert K.dtype(layer.weights[1]) == "float64"
    assert np.ptp(layer.get_weights()[0]) > 0
    with pytest.raises(ValueError, match=r"kernel.*known shape.*None"):
        layer.add_weight("kernel", (None, 3))

    def wrong(shape, dtype=None):
        return np.zeros(7)

    with pytest.raises(ValueError, match=r"\(7,\), expected \(2,\)"):
        layer.add_weight("d", (2,), initializer=wrong)


def test_initial_weights():
    kernel, bias = np.ones((3, 2)), np.zeros(2)
    layer = Dense(2, weights=[kernel, bias])
    layer(Input((3,)))
    np.testing.assert_array_equal(layer.get_weights()[0], kernel)


def test_set_weights_is_all_or_nothing():
    layer = Dense(2)
    layer(Input((3,)))
    before = layer.get_weights()
    for wrong in ([np.ones((3, 2))], [np.ones((3, 2)), np.ones(3)]):
        with pytest.raises(ValueError, match=layer.name):
            layer.set_weights(wrong)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_trainable_is_dynamic():
    layer = Dense(2)
    layer(Input((3,)))
    assert (len(layer.trainable_weights), len(layer.non_trainable_weights)) == (2, 0)
    layer.trainable = False
    assert (len(layer.trainable_weights), len(layer.non_trainable_weights)) == (0, 2)
    assert len(layer.weights) == 2


def test_call_on_something_else():
    with pytest.raises(ValueError, match=r"d1.*symbolic tensor.*ndarray"):
        Dense(2, name="d1")(np.ones((2, 3)))
    with pytest.raises(ValueError) as caught:
        Dense(2)(np.random.rand(500, 3))
    assert len(str(caught.value)) < 400
    with pytest.raises(TypeError) as caught:
        Model(np.random.rand(500, 3), np.ones((500, 1)))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ({"ndim": 3}, (3,), "expected ndim=3, found ndim=2"),
        ({"min_ndim": 3}, (3,), "expected min_ndim=3, found ndim=2"),
        ({"max_ndim": 2}, (3, 4), "expected max_ndim=2, found ndim=3"),
        ({"axes": {-1: 5}}, (3,), "expected axis -1 of input shape to have value 5"),
        ({"dtype": "int32"}, (3,), "expected dtype=int32, found dtype=float32"),
        ({"shape": (None, 4)}, (3,), r"expected shape=\(None, 4\), found shape=\(None, 3\)"),
    ],
)
def test_input_spec(spec, shape, message):
    layer = Layer(name="picky")
    layer.input_spec = InputSpec(**spec)
    with pytest.raises(ValueError, match=f"Input 0 is incompatible with layer picky: {message}"):
        layer(Input(shape))


def test_number_of_inputs():
    layer = Layer(name="two")
    layer.input_spec = [InputSpec(ndim=2), InputSpec(ndim=2)]
    with pytest.raises(ValueError, match="two expects 2 inputs, but it received 1"):
        layer(Input((3,)))


def test_calls_are_recorded():
    layer = Dense(2)
    for getter in (layer.get_input_at, layer.get_output_shape_at):
        with pytest.raises(RuntimeError, match="never been called"):
            getter(0)
    with pytest.raises(AttributeError, match="not connected"):
        _ = layer.output
    with pytest.raises(AttributeError, match="never been called"):
        _ = layer.input_shape
    a, b = Input((3,)), Input((3,))
    c = layer(a)
    assert layer.input is a and layer.output is c
    d = layer(b)
    assert layer.get_input_at(1) is b and layer.get_output_at(1) is d
    with pytest.raises(AttributeError, match="multiple inbound nodes"):
        _ = layer.input
    assert (layer.input_shape, layer.output_shape) == ((None, 3), (None, 2))
    with pytest.raises(ValueError, match="at node 2.*only 2"):
        layer.get_output_at(2)
    assert layer.get_input_mask_at(0) is None


def test_different_shapes_are_ambiguous():
    layer = Dense(2)
    layer(Input((4, 3)))
    layer(Input((5, 3)))
    with pytest.raises(AttributeError, match="different output shape"):
        _ = layer.output_shape
    assert layer.get_output_shape_at(1) == (None, 5, 2)


def test_config():
    assert Layer(name="a").get_config() == {"name": "a", "trainable": True}
    config = Dense(2, input_shape=(3,), batch_size=4, name="b").get_config()
    assert config["batch_input_shape"] == (4, 3)
    assert config["dtype"] == "float32"
    assert Dense.from_config(config).get_config() == config


def test_masks_reach_the_layers():
    seen = []

    class Spy(Layer):
        supports_masking = True

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs, mask=None):
            seen.append(mask)
            return inputs

    x = Input((4,))
    y = Spy()(Embedding(10, 3, mask_zero=True)(x))
    assert seen[-1] is not None
    mask = y._keras_history[0].get_output_mask_at(0)
    run = K.function([x], [mask])
    np.testing.assert_array_equal(run([[[1, 0, 2, 0]]])[0], [[True, False, True, False]])


def test_a_layer_without_masking_refuses_a_mask():
    with pytest.raises(TypeError, match="does not support masking"):
        Scale()(Masking()(Input((4, 3))))


def test_handed_through_inputs_get_an_identity():
    class Nothing(Layer):
        pass

    x = Input((3,))
    y = Nothing()(x)
    assert y is not x
    assert x._keras_history[0] is not y._keras_history[0]
    np.testing.assert_array_equal(Model(x, y).predict(np.ones((2, 3))), np.ones((2, 3)))


def test_call_arguments_survive_the_config():
    x = Input((3,))
    model = Model(x, Dropout(0.5)(x, training=True))
    assert not model.uses_learning_phase
    data = np.ones((50, 3))
    assert (model.predict(data) == 0).any()
    again = Model.from_config(model.get_config())
    assert not again.uses_learning_phase
    assert (again.predict(data) == 0).any()
    assert Model(x, Dropout(0.5)(x)).uses_learning_phase


def test_shapes_that_only_the_layer_knows():
    """`compute_output_shape` completes what the graph cannot tell."""

    class Reshaper(Layer):
        def call(self, inputs):
            return K.reshape(inputs, K.shape(inputs)[:2])

        def compute_output_shape(self, input_shape):
            return input_shape[:2]

    y = Reshaper()(Input((3, 1)))
    assert y._keras_shape == (None, 3)
    assert Dense(2)(y)._keras_shape == (None, 2)


def test_scope_names_the_layer_in_errors():
    x = Input((3,))
    y = Lambda(lambda t: K.gather(K.constant(np.ones((2, 2))), K.cast(t, "int32")), name="pick")(x)
    with pytest.raises((ValueError, IndexError), match="pick"):
        Model(x, y).predict(np.full((1, 3), 7))


def test_wrapped_layer_counts():
    layer = TimeDistributed(Dense(2))
    layer(Input((4, 3)))
    assert layer.count_params() == 8


def test_merge_of_layers():
    a = Input((3,))
    model = Model(a, add([Dense(2)(a), Dense(2)(a)]))
    assert len(model.weights) == 4
    assert isinstance(Sequential([Dense(2, input_shape=(3,))]).get_layer(index=0), Dense)
