"""The Grafana dashboard shows the metrics that a run has."""

from __future__ import annotations

import json
import re

import pytest

from deploy import manifests
from hornbeam.run.metrics import Metrics

DASHBOARD = manifests.DEPLOY / "grafana" / "hornbeam.json"


@pytest.fixture
def made(monkeypatch):
    """The names under which a run's metrics reach Prometheus."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    metrics = pytest.importorskip("ray.util.metrics", reason="Ray is not installed")
    names = set()

    def kind(suffix):
        class Metric:
            def __init__(self, name, description):
                assert description
                names.add(f"ray_{name}{suffix}")

        return Metric

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(metrics, "Counter", kind("_total"))
    monkeypatch.setattr(metrics, "Gauge", kind(""))
    Metrics().on_train_begin()
    return names


def shown(text):
    return set(re.findall(r"ray_hornbeam_\w+", text))


def test_panels_show_metrics_that_exist(made):
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert shown(json.dumps(panels)) == made - {"ray_hornbeam_samples_total"}


def test_the_readme_lists_them(made):
    assert shown((manifests.DEPLOY / "README.md").read_text()) == made


def test_panels_lie_side_by_side():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels]
    assert len(set(places)) == len(panels) and len({p["id"] for p in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["targets"] and panel["datasource"]["uid"] == "${datasource}"
