"""The Grafana dashboard shows the metrics that a run has."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from deploy import manifests
from hornbeam.callbacks import BackupAndRestore, Callback, LambdaCallback
from hornbeam.layers import Dense
from hornbeam.models import Sequential
from hornbeam.run.metrics import Metrics

DASHBOARD = manifests.DEPLOY / "grafana" / "hornbeam.json"


@pytest.fixture
def values(monkeypatch):
    """The values of a run's metrics by the names under which they reach Prometheus."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    metrics = pytest.importorskip("ray.util.metrics", reason="Ray is not installed")
    found = {}

    class Metric:
        suffix = ""

        def __init__(self, name, description):
            assert description
            self.name = f"ray_{name}{self.suffix}"
            found[self.name] = 0.0

        def set(self, value):
            found[self.name] = value

    class Counted(Metric):
        suffix = "_total"

        def inc(self, value):
            assert value > 0
            found[self.name] += value

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(metrics, "Counter", Counted)
    monkeypatch.setattr(metrics, "Gauge", Metric)
    return found


@pytest.fixture
def made(values):
    Metrics().on_train_begin()
    return set(values)


def fit(callbacks):
    np.random.seed(1)
    x = np.random.normal(size=(100, 5)).astype("float32")
    model = Sequential([Dense(1, input_shape=(5,))])
    model.compile("sgd", "mse")
    history = model.fit(x, x[:, :1], batch_size=8, epochs=3, verbose=0, callbacks=callbacks)
    return history.history["loss"]


@pytest.mark.parametrize("every_batch", [False, True])
def test_a_run_counts_what_it_does(values, every_batch):
    between = []
    watch = LambdaCallback(
        **{"on_batch_end" if every_batch else "on_epoch_end": lambda *_: between.append({**values})}
    )
    losses = fit([Metrics(), watch])
    assert values["ray_hornbeam_steps_total"] == 3 * 13
    assert values["ray_hornbeam_samples_total"] == 3 * 100
    assert values["ray_hornbeam_loss"] == pytest.approx(losses[-1], rel=1e-5)
    assert values["ray_hornbeam_epoch"] == 2 and values["ray_hornbeam_samples_per_second"] > 0
    if every_batch:
        assert [b["ray_hornbeam_steps_total"] for b in between] == list(range(1, 40))
        last = [b["ray_hornbeam_loss"] for b in between][12::13]
        assert last == pytest.approx(losses, rel=1e-5)


def test_a_run_that_goes_on_counts_its_own_steps(values, tmp_path):
    class StopError(Exception):
        pass

    class Stop(Callback):
        def __init__(self, at):
            super().__init__()
            self.at = lambda: at

        def on_batch_end(self, batch, logs=None):
            if batch == self.at():
                raise StopError

    with pytest.raises(StopError):
        fit([BackupAndRestore(str(tmp_path), save_freq=4), Metrics(), Stop(9)])
    values.clear()
    fit([BackupAndRestore(str(tmp_path), save_freq=4), Metrics(), Stop(99)])
    assert values["ray_hornbeam_steps_total"] == 3 * 13 - 8
    assert values["ray_hornbeam_samples_total"] == 3 * 100 - 64


def shown(text):
    return set(re.findall(r"ray_hornbeam_\w+", text))


def test_panels_show_metrics_that_exist(made):
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert shown(json.dumps(panels)) == made - {"ray_hornbeam_samples_total"}


def queries():
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    variables = [v["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    return asked, variables


def test_prometheus_reads_the_queries():
    promql = pytest.importorskip("promql_parser", reason="promql-parser is not installed")
    for query in queries()[0]:
        # Grafana replaces its own variables first.
        promql.parse(query.replace("$cluster", "hornbeam"))
    with pytest.raises(ValueError):
        promql.parse(queries()[0][0].replace("{", "{{"))


def test_variables_come_from_metrics_that_exist(made):
    asked = json.dumps(queries()[1])
    assert shown(asked) and shown(asked) <= made


def test_the_readme_lists_them(made):
    assert shown((manifests.DEPLOY / "README.md").read_text()) == made


def test_panels_lie_side_by_side():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels]
    assert len(set(places)) == len(panels) and len({p["id"] for p in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["targets"] and panel["datasource"]["uid"] == "${datasource}"
