"""Keras 1 calls, against stand-ins that record the arguments that reach them."""

import inspect
import warnings

import numpy as np
import pytest

from hornbeam.legacy import interfaces

WEIGHTS = {
    "init": "kernel_initializer",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "bias": "use_bias",
}
IMAGE_CONV = {
    "nb_filter": "filters",
    "subsample": "strides",
    "border_mode": "padding",
    "dim_ordering": "data_format",
}
RECURRENT = {
    "init": "kernel_initializer",
    "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
}
# interface -> (positional arguments or None for any, old -> new)
TABLE = {
    "legacy_dense_support": (["units"], {"output_dim": "units", **WEIGHTS}),
    "legacy_dropout_support": (["rate", "noise_shape", "seed"], {"p": "rate"}),
    "legacy_embedding_support": (
        ["input_dim", "output_dim"],
        {
            "init": "embeddings_initializer",
            "W_regularizer": "embeddings_regularizer",
            "W_constraint": "embeddings_constraint",
        },
    ),
    "legacy_pooling1d_support": (
        ["pool_size", "strides", "padding"],
        {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"},
    ),
    "legacy_prelu_support": (["alpha_initializer"], {"init": "alpha_initializer"}),
    "legacy_gaussiannoise_support": (["stddev"], {"sigma": "stddev"}),
    "legacy_recurrent_support": (
        ["units"],
        {"output_dim": "units", "consume_less": "implementation", **RECURRENT},
    ),
    "legacy_gaussiandropout_support": (["rate"], {"p": "rate"}),
    "legacy_pooling2d_support": (
        ["pool_size", "strides", "padding"],
        {"border_mode": "padding", "dim_ordering": "data_format"},
    ),
    "legacy_pooling3d_support": (
        ["pool_size", "strides", "padding"],
        {"border_mode": "padding", "dim_ordering": "data_format"},
    ),
    "legacy_global_pooling_support": (None, {"dim_ordering": "data_format"}),
    "legacy_upsampling1d_support": (["size"], {"length": "size"}),
    "legacy_upsampling2d_support": (["size"], {"dim_ordering": "data_format"}),
    "legacy_upsampling3d_support": (["size"], {"dim_ordering": "data_format"}),
    "legacy_conv1d_support": (
        ["filters", "kernel_size"],
        {
            "nb_filter": "filters",
            "filter_length": "kernel_size",
            "subsample_length": "strides",
            "border_mode": "padding",
            **WEIGHTS,
        },
    ),
    "legacy_conv2d_support": (["filters", "kernel_size"], {**IMAGE_CONV, **WEIGHTS}),
    "legacy_separable_conv2d_support": (
        ["filters", "kernel_size"],
        {
            **IMAGE_CONV,
            "b_regularizer": "bias_regularizer",
            "b_constraint": "bias_constraint",
            "bias": "use_bias",
        },
    ),
    "legacy_deconv2d_support": (["filters", "kernel_size"], {**IMAGE_CONV, **WEIGHTS}),
    "legacy_conv3d_support": (["filters", "kernel_size"], {**IMAGE_CONV, **WEIGHTS}),
    "legacy_convlstm2d_support": (
        ["filters", "kernel_size"],
        {**IMAGE_CONV, **RECURRENT, "bias": "use_bias"},
    ),
    "legacy_batchnorm_support": (
        [],
        {"beta_init": "beta_initializer", "gamma_init": "gamma_initializer"},
    ),
    "legacy_zeropadding2d_support": (["padding"], {"dim_ordering": "data_format"}),
    "legacy_zeropadding3d_support": (["padding"], {"dim_ordering": "data_format"}),
    "legacy_cropping2d_support": (["cropping"], {"dim_ordering": "data_format"}),
    "legacy_cropping3d_support": (["cropping"], {"dim_ordering": "data_format"}),
    "legacy_spatialdropout1d_support": (["rate"], {"p": "rate"}),
    "legacy_spatialdropoutNd_support": (["rate"], {"p": "rate", "dim_ordering": "data_format"}),
    "legacy_lambda_support": (["function", "output_shape"], {}),
    "legacy_generator_methods_support": (
        ["generator", "steps_per_epoch", "epochs"],
        {
            "val_samples": "steps",
            "nb_epoch": "epochs",
            "nb_val_samples": "validation_steps",
            "nb_worker": "workers",
        },
    ),
    "legacy_model_constructor_support": (None, {"input": "inputs", "output": "outputs"}),
    "legacy_input_support": (None, {"input_dtype": "dtype"}),
    "legacy_add_weight_support": (["name", "shape"], {}),
}
METHODS = {"legacy_generator_methods_support", "legacy_add_weight_support"}


def make_layer(support, name, *parameters):
    """A class whose constructor takes `parameters` by name and records what it is given."""
    made = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    made += [
        inspect.Parameter(p, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
        for p in parameters
    ]
    made.append(inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD))

    def init(self, *args, **kwargs):
        self.args = args
        self.kwargs = kwargs

    init.__signature__ = inspect.Signature(made)
    return type(name, (), {"__init__": getattr(interfaces, support)(init)})


def make_from_table(support, name="Layer"):
    positional, renames = TABLE[support]
    return make_layer(support, name, *dict.fromkeys([*(positional or []), *renames.values()]))


def test_the_table_covers_every_interface():
    names = {n for n in vars(interfaces) if n.startswith("legacy_") and n.endswith("_support")}
    assert names == set(TABLE)


@pytest.mark.parametrize(
    ("support", "old", "new"),
    [
        (support, old, new)
        for support, (_, renames) in TABLE.items()
        for old, new in renames.items()
    ],
)
def test_each_rename_warns_and_arrives_under_the_new_name(support, old, new):
    layer = make_from_table(support)
    value = object()
    with pytest.warns(UserWarning, match="Keras 2 API") as caught:
        made = layer(**{old: value})
    assert made.kwargs == {new: value}
    assert f"{new}=" in str(caught[0].message)
    assert caught[0].filename == __file__
    with pytest.raises(TypeError, match=f"`{old}`.*`{new}`"):
        layer(**{old: 1, new: 2})


@pytest.mark.parametrize("support", TABLE)
def test_positional_arguments_beyond_the_listed_ones_raise(support):
    positional, _ = TABLE[support]
    layer = make_from_table(support)
    if positional is None:
        assert len(layer(*[0.5] * 7).args) == 7
        return
    assert layer(*[0.5] * len(positional)).args == (0.5,) * len(positional)
    with pytest.raises(TypeError, match="positional arguments"):
        layer(*[0.5] * (len(positional) + 1))


@pytest.mark.parametrize("support", sorted(set(TABLE) - METHODS))
def test_an_unknown_keyword_raises_with_the_nearest_name(support):
    layer = make_from_table(support)
    with pytest.raises(TypeError, match="'trainble'.*Did you mean 'trainable'"):
        layer(trainble=False)
    assert layer(trainable=False, name="a").kwargs == {"trainable": False, "name": "a"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [("tf", "channels_last"), ("th", "channels_first"), ("default", None), ("odd", "odd")],
)
def test_dim_ordering_values(given, expected):
    for support, (_, renames) in TABLE.items():
        if "dim_ordering" in renames:
            with pytest.warns(UserWarning):
                made = make_from_table(support)(dim_ordering=given)
            assert made.kwargs == {"data_format": expected}


@pytest.mark.parametrize(("given", "expected"), [("cpu", 0), ("mem", 1), ("gpu", 2)])
def test_consume_less_values(given, expected):
    with pytest.warns(UserWarning):
        made = make_from_table("legacy_recurrent_support")(3, consume_less=given)
    assert (made.args, made.kwargs) == ((3,), {"implementation": expected})


def conv2d(*args, support="legacy_conv2d_support", **kwargs):
    names = ["filters", "kernel_size", "strides", "padding", "data_format", "activation"]
    names += ["kernel_initializer", "depthwise_initializer", "pointwise_initializer"]
    names += ["unit_forget_bias"]
    return make_layer(support, "Conv2D", *names)(*args, **kwargs)


CONV2D = [
    "legacy_conv2d_support",
    "legacy_separable_conv2d_support",
    "legacy_deconv2d_support",
    "legacy_convlstm2d_support",
]


@pytest.mark.parametrize("support", CONV2D)
@pytest.mark.parametrize(
    ("args", "kwargs", "args_out", "kwargs_out"),
    [
        ((64, 3, 5), {}, (64, (3, 5)), {}),
        ((64, 3, 5), {"activation": "relu"}, (64, (3, 5)), {"activation": "relu"}),
        ((64, 3), {"nb_col": 5}, (64, (3, 5)), {}),
        ((64,), {"nb_row": 3, "nb_col": 5}, (64, (3, 5)), {}),
        (
            (),
            {"nb_filter": 64, "nb_row": 3, "nb_col": 5},
            (),
            {"filters": 64, "kernel_size": (3, 5)},
        ),
        ((np.int64(64), np.int64(3), np.int64(5)), {}, (64, (3, 5)), {}),
    ],
)
def test_rows_and_columns_become_the_kernel_size(support, args, kwargs, args_out, kwargs_out):
    with pytest.warns(UserWarning, match=r"\(3, 5\)"):
        made = conv2d(*args, support=support, **kwargs)
    assert (made.args, made.kwargs) == (args_out, kwargs_out)


def test_the_call_of_the_guide_shows_the_new_call():
    with pytest.warns(UserWarning) as caught:
        made = conv2d(64, 3, 3, border_mode="same", input_shape=(3, 32, 32))
    assert made.kwargs == {"padding": "same", "input_shape": (3, 32, 32)}
    assert str(caught[0].message) == (
        "Update your `Conv2D` call to the Keras 2 API: "
        '`Conv2D(64, (3, 3), padding="same", input_shape=(3, 32, 32))`'
    )


@pytest.mark.parametrize("args", [(64, 3), (64, (3, 3)), (64, [3, 3]), (64,)])
def test_todays_calls_pass_unchanged_and_silently(args):
    made = conv2d(*args, strides=2, padding="same")
    assert (made.args, made.kwargs) == (args, {"strides": 2, "padding": "same"})


@pytest.mark.parametrize("keyword", ["padding", "strides", "data_format"])
def test_two_integers_with_a_new_keyword_are_ambiguous(keyword):
    with pytest.raises(ValueError, match=keyword):
        conv2d(64, 3, 3, **{keyword: "x"})


def test_an_array_in_the_shown_call_is_abbreviated():
    with pytest.warns(UserWarning, match=r"weights=array") as caught:
        conv2d(64, 3, 3, weights=np.zeros((100, 100)))
    assert len(str(caught[0].message)) < 200


def test_separable_init_goes_to_both_kernels():
    with pytest.warns(UserWarning):
        made = conv2d(8, 3, 3, init="he_normal", support="legacy_separable_conv2d_support")
    assert made.kwargs == {
        "depthwise_initializer": "he_normal",
        "pointwise_initializer": "he_normal",
    }


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((8, 3, 3, (None, 5, 5, 8)), {}), ((8, 3, 3), {"output_shape": (None, 5, 5, 8)})],
)
def test_the_output_shape_of_a_deconvolution_is_dropped(args, kwargs):
    with pytest.warns(UserWarning):
        made = conv2d(*args, support="legacy_deconv2d_support", **kwargs)
    assert (made.args, made.kwargs) == ((8, (3, 3)), {})


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((8, 2, 3, 4), {}),
        ((8, 2, 3), {"kernel_dim3": 4}),
        ((8, 2), {"kernel_dim2": 3, "kernel_dim3": 4}),
        ((8,), {"kernel_dim1": 2, "kernel_dim2": 3, "kernel_dim3": 4}),
    ],
)
def test_three_lengths_become_the_kernel_size(args, kwargs):
    layer = make_layer("legacy_conv3d_support", "Conv3D", "filters", "kernel_size")
    with pytest.warns(UserWarning):
        made = layer(*args, **kwargs)
    assert made.args == (8, (2, 3, 4))


@pytest.mark.parametrize("support", ["legacy_recurrent_support", "legacy_conv1d_support"])
def test_input_dim_and_length_become_the_input_shape(support):
    layer = make_from_table(support)
    with pytest.warns(UserWarning):
        assert layer(5, input_dim=7, input_length=3).kwargs == {"input_shape": (3, 7)}
    with pytest.warns(UserWarning):
        assert layer(5, input_dim=7).kwargs == {"input_shape": (None, 7)}


@pytest.mark.parametrize("support", ["legacy_recurrent_support", "legacy_convlstm2d_support"])
def test_forget_bias_init(support):
    layer = make_layer(support, "LSTM", "units", "unit_forget_bias")
    with pytest.warns(UserWarning, match="unit_forget_bias=True"):
        assert layer(5, forget_bias_init="one").kwargs == {"unit_forget_bias": True}
    with pytest.warns(UserWarning, match="has been ignored") as caught:
        assert layer(5, forget_bias_init="zero").kwargs == {}
    assert caught[0].filename == __file__


def test_embedding_dropout_is_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="SpatialDropout1D") as caught:
        made = make_from_table("legacy_embedding_support")(4, 3, dropout=0.2)
    assert (made.args, made.kwargs) == ((4, 3), {})
    assert caught[0].filename == __file__


def test_batchnorm_mode():
    layer = make_from_table("legacy_batchnorm_support")
    with pytest.warns(UserWarning):
        assert layer(mode=0).kwargs == {}
    with pytest.raises(TypeError, match="mode=2"):
        layer(mode=2)


def test_zero_padding_as_a_dictionary():
    layer = make_from_table("legacy_zeropadding2d_support")
    with pytest.warns(UserWarning):
        made = layer(padding={"top_pad": 1, "right_pad": 4})
    assert made.kwargs == {"padding": ((1, 0), (0, 4))}
    with pytest.warns(UserWarning):
        assert layer({"left_pad": 3, "bottom_pad": 2}).args == (((0, 2), (3, 0)),)
    with pytest.raises(ValueError, match="up_pad"):
        layer(padding={"up_pad": 1})


class Batches:
    batch_size = 5


def fit_generator(*args, **kwargs):
    names = ["generator", "steps_per_epoch", "epochs", "max_q_size", "pickle_safe"]
    return make_layer("legacy_generator_methods_support", "Model", *names)(*args, **kwargs)


def test_samples_per_epoch():
    with pytest.warns(UserWarning):
        assert fit_generator(Batches(), samples_per_epoch=20).kwargs == {"steps_per_epoch": 4}
    with pytest.warns(UserWarning) as caught:
        made = fit_generator(generator=iter([]), samples_per_epoch=20)
    assert made.kwargs["steps_per_epoch"] == 20
    assert any("number of batches" in str(w.message) for w in caught)
    with pytest.raises(TypeError, match="twice"):
        fit_generator(iter([]), samples_per_epoch=20, steps_per_epoch=3)


def test_names_of_later_versions_are_silent():
    made = fit_generator(Batches(), 3, max_queue_size=4, use_multiprocessing=True)
    assert made.kwargs == {"max_q_size": 4, "pickle_safe": True}


def test_an_alias_that_the_function_has_itself_is_left_alone():
    names = ["generator", "max_q_size", "max_queue_size"]
    layer = make_layer("legacy_generator_methods_support", "Model", *names)
    assert layer(Batches(), max_queue_size=4).kwargs == {"max_queue_size": 4}


def test_add_weight_in_either_order():
    layer = make_layer("legacy_add_weight_support", "add_weight", "name", "shape", "initializer")
    assert layer("w", (2, 3)).args == ("w", (2, 3))
    assert layer((2, 3), "w").kwargs == {"shape": (2, 3), "name": "w"}
    made = layer((2, 3), "zeros", name="w")
    assert made.kwargs == {"shape": (2, 3), "name": "w", "initializer": "zeros"}


def test_signature_and_name_survive():
    layer = make_from_table("legacy_dense_support")
    assert list(inspect.signature(layer).parameters)[0] == "units"


def test_cooperative_subclasses_may_pass_keywords_along_the_mro():
    class Mixin:
        def __init__(self, extra=None):
            self.extra = extra

    class Dense:
        @interfaces.legacy_dense_support
        def __init__(self, units, **kwargs):
            self.units = units
            super().__init__(**kwargs)

    class Both(Dense, Mixin):
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Both(3, extra=4).extra == 4
    with pytest.raises(TypeError, match="extr'"):
        Both(3, extr=4)
