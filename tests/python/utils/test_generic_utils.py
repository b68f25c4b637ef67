"""Custom objects, (de)serialisation and the small helpers."""

import pytest

from hornbeam import utils
from hornbeam.utils import generic_utils as g


class Thing:
    def __init__(self, size=1, kind="plain"):
        self.size = size
        self.kind = kind

    def get_config(self):
        return {"size": self.size, "kind": self.kind}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class Nested(Thing):
    """Its from_config wants the custom objects, as models and wrappers do."""

    @classmethod
    def from_config(cls, config, custom_objects=None):
        made = cls(**config)
        made.seen = custom_objects
        return made


class Bare:
    def __init__(self, size=1):
        self.size = size


def relu(x):
    return max(x, 0)


MODULE = {"Thing": Thing, "Nested": Nested, "Bare": Bare, "relu": relu}


def test_round_trip_of_an_object():
    data = utils.serialize_keras_object(Thing(3, "odd"))
    assert data == {"class_name": "Thing", "config": {"size": 3, "kind": "odd"}}
    made = utils.deserialize_keras_object(data, module_objects=MODULE)
    assert (type(made), made.size, made.kind) == (Thing, 3, "odd")


def test_functions_classes_and_none():
    assert utils.serialize_keras_object(None) is None
    assert utils.serialize_keras_object(relu) == "relu"
    assert utils.serialize_keras_object(Thing) == "Thing"
    assert utils.deserialize_keras_object("relu", module_objects=MODULE) is relu
    with pytest.raises(ValueError, match="get_config"):
        utils.serialize_keras_object(3)


def test_a_class_without_from_config_is_called():
    data = {"class_name": "Bare", "config": {"size": 4}}
    assert utils.deserialize_keras_object(data, MODULE).size == 4


def test_lookup_order():
    own, scoped = object(), object()
    with utils.custom_object_scope({"relu": scoped}):
        assert utils.deserialize_keras_object("relu", MODULE, {"relu": own}) is own
        assert utils.deserialize_keras_object("relu", MODULE) is scoped
    assert utils.deserialize_keras_object("relu", MODULE) is relu


def test_from_config_is_given_all_custom_objects():
    data = {"class_name": "Nested", "config": {}}
    with utils.CustomObjectScope({"a": 1, "b": 1}):
        made = utils.deserialize_keras_object(data, MODULE, {"b": 2})
    assert made.seen["a"] == 1 and made.seen["b"] == 2
    assert "b" not in utils.get_custom_objects()


def test_custom_objects_are_in_scope_while_building():
    class Asks(Thing):
        @classmethod
        def from_config(cls, config):
            return g.get_custom_objects()["own"]

    data = {"class_name": "Asks", "config": {}}
    assert utils.deserialize_keras_object(data, {"Asks": Asks}, {"own": 5}) == 5


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("rellu", "Unknown activation: 'rellu'. Did you mean 'relu'"),
        ("zzz", "Unknown activation: 'zzz'.*custom_objects"),
        ({"class_name": "Thong", "config": {}}, "Unknown activation: 'Thong'.*'Thing'"),
        ({"config": {}}, "Improper config format"),
        ({"class_name": "Thing"}, "Improper config format"),
        (3, "Could not interpret serialized activation: 3"),
    ],
)
def test_errors_name_what_came(identifier, message):
    with pytest.raises(ValueError, match=message):
        utils.deserialize_keras_object(identifier, MODULE, printable_module_name="activation")


def test_scopes_nest_and_undo_changes():
    outside = dict(utils.get_custom_objects())
    scope = utils.CustomObjectScope({"a": 1}, {"b": 2}, None)
    with scope:
        with scope:
            utils.get_custom_objects()["c"] = 3
        assert set(utils.get_custom_objects()) - set(outside) == {"a", "b"}
    with pytest.raises(KeyError), utils.custom_object_scope({"a": 1}):
        raise KeyError
    assert utils.get_custom_objects() == outside


def test_registered_names_of_both_eras():
    with utils.CustomObjectScope():

        @utils.register_keras_serializable(package="mine")
        class Own(Thing):
            pass

        for data in (
            {"class_name": "Own", "config": {"size": 2}},
            {"class_name": "Own", "config": {"size": 2}, "registered_name": "mine>Own"},
            {"class_name": "Own", "config": {"size": 2}, "registered_name": "other>Own"},
        ):
            made = utils.deserialize_keras_object(data, {})
            assert type(made) is Own and made.size == 2


def test_has_arg():
    def f(a, b=1, *, c, **kwargs):
        pass

    class Callable:
        def __call__(self, x):
            pass

    assert g.has_arg(f, "a") and g.has_arg(f, "b") and g.has_arg(f, "c")
    assert not g.has_arg(f, "d") and g.has_arg(f, "d", accept_all=True)
    assert not g.has_arg(f, "kwargs")
    assert g.has_arg(Callable(), "x") and not g.has_arg(Callable(), "self")
    assert g.has_arg(Thing, "size")


def test_list_helpers():
    items = [1]
    assert g.to_list(items) is items
    assert g.to_list((1, 2)) == [(1, 2)]
    assert g.to_list((1, 2), allow_tuple=True) == [1, 2]
    assert g.unpack_singleton([5]) == 5 and g.unpack_singleton([5, 6]) == [5, 6]
    a, b = object(), object()
    assert g.object_list_uid([a, b]) == f"{id(a)}, {id(b)}"
    assert g.nearest_name("nothing_alike", ["units"]) is None
