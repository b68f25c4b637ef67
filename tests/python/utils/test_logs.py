"""Dictionaries that find a quantity under each of its names."""

import copy
import json
import pickle

import pytest

from hornbeam.utils.logs import Logs, alias


@pytest.mark.parametrize(
    ("stored", "other"),
    [
        ("acc", "accuracy"),
        ("val_acc", "val_accuracy"),
        ("head_acc", "head_accuracy"),
        ("val_head_acc", "val_head_accuracy"),
        ("mean_squared_error", "mse"),
        ("val_mean_absolute_error", "val_mae"),
        ("lr", "learning_rate"),
    ],
)
def test_both_names_lead_to_the_value(stored, other):
    for key, asked in ((stored, other), (other, stored)):
        logs = Logs({key: 5})
        assert logs[asked] == logs.get(asked) == logs[key] == 5
        assert asked in logs and list(logs) == [key]
        logs[asked] = 6
        assert dict(logs) == {key: 6}
        assert logs.setdefault(asked, 7) == 6
        assert logs.pop(asked) == 6 and not logs
    assert alias(alias(stored)) == stored


def test_what_is_not_there():
    logs = Logs(loss=1.0)
    with pytest.raises(KeyError, match="acc"):
        logs["acc"]
    with pytest.raises(KeyError):
        logs.pop("acc")
    with pytest.raises(KeyError):
        del logs["acc"]
    assert logs.get("acc") is None and logs.get("acc", 3) == 3 and logs.pop("acc", 4) == 4
    assert "acc" not in logs and 3 not in logs
    assert alias("loss") is None and alias("subaccuracy") is None


def test_a_name_of_its_own_goes_first():
    logs = Logs({"acc": 1, "accuracy": 2})
    assert (logs["acc"], logs["accuracy"]) == (1, 2)


def test_copies_and_text():
    logs = Logs(val_acc=0.5)
    for made in (logs.copy(), copy.deepcopy(logs), pickle.loads(pickle.dumps(logs))):
        assert type(made) is Logs and made["val_accuracy"] == 0.5 and made == {"val_acc": 0.5}
    assert json.loads(json.dumps(logs)) == {"val_acc": 0.5}
    del logs["val_accuracy"]
    assert logs == {}
