"""ModelCheckpoint, CSVLogger and RemoteMonitor."""

import csv
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from hornbeam import callbacks
from hornbeam.utils.logs import Logs


class Model:
    def __init__(self):
        self.saved = []

    def save(self, path, overwrite=True):
        self.saved.append(("model", path))

    def save_weights(self, path, overwrite=True):
        self.saved.append(("weights", path))


def checkpoints(callback, values, monitor="val_loss"):
    model = Model()
    callback.set_model(model)
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, Logs({monitor: value}))
    return model.saved


def test_every_epoch_and_names_counted_from_zero(capsys):
    saver = callbacks.ModelCheckpoint("m.{epoch:02d}-{val_loss:.1f}.h5", verbose=1)
    assert checkpoints(saver, [2.0, 1.0]) == [("model", "m.00-2.0.h5"), ("model", "m.01-1.0.h5")]
    assert capsys.readouterr().out.splitlines()[1] == "Epoch 00001: saving model to m.01-1.0.h5"


def test_period_two_over_four_epochs_writes_one_and_three():
    saver = callbacks.ModelCheckpoint("{epoch:02d}", period=2, save_weights_only=True)
    assert checkpoints(saver, [1.0] * 4) == [("weights", "01"), ("weights", "03")]


def test_save_best_only(capsys):
    saver = callbacks.ModelCheckpoint("{epoch}", save_best_only=True, verbose=1)
    assert checkpoints(saver, [2.0, 3.0, 1.0]) == [("model", "0"), ("model", "2")]
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 00000: val_loss improved from inf to 2.00000, saving model to 0",
        "Epoch 00001: val_loss did not improve",
        "Epoch 00002: val_loss improved from 2.00000 to 1.00000, saving model to 2",
    ]


@pytest.mark.parametrize(
    ("monitor", "mode", "saved"),
    [("val_acc", "auto", ["0", "1"]), ("val_acc", "min", ["0", "2"]), ("x", "max", ["0", "1"])],
)
def test_direction(monitor, mode, saved):
    saver = callbacks.ModelCheckpoint("{epoch}", monitor=monitor, mode=mode, save_best_only=True)
    found = checkpoints(saver, [0.5, 0.6, 0.4], monitor=monitor)
    assert [path for _, path in found] == saved


def test_names_of_quantities(tmp_path):
    saver = callbacks.ModelCheckpoint(tmp_path / "{val_accuracy:.2f}")
    assert checkpoints(saver, [0.5], "val_acc") == [("model", str(tmp_path / "0.50"))]
    with pytest.raises(KeyError, match="val_los.*Available are: epoch, val_loss"):
        checkpoints(callbacks.ModelCheckpoint("{val_los}"), [1.0])
    saver = callbacks.ModelCheckpoint("a", monitor="val_auc", save_best_only=True)
    with pytest.warns(RuntimeWarning, match="val_auc"):
        assert checkpoints(saver, [1.0]) == []
    with pytest.warns(RuntimeWarning, match="unknown"):
        callbacks.ModelCheckpoint("a", mode="unknown")


def log_csv(logger, rows):
    logger.on_train_begin()
    for epoch, logs in enumerate(rows):
        logger.on_epoch_end(epoch, logs)
    logger.on_train_end()


def test_csv_rows(tmp_path):
    path = tmp_path / "log.csv"
    log_csv(
        callbacks.CSVLogger(path),
        [{"loss": 1.5, "acc": np.float32(0.5)}, {"acc": 1.0, "loss": np.array(0.25)}],
    )
    with open(path, newline="") as f:
        assert list(csv.DictReader(f)) == [
            {"epoch": "0", "acc": "0.5", "loss": "1.5"},
            {"epoch": "1", "acc": "1.0", "loss": "0.25"},
        ]
    assert path.read_text().splitlines()[0] == "epoch,acc,loss"


def test_csv_appending_writes_the_header_once(tmp_path):
    path = tmp_path / "log.csv"
    for _ in range(2):
        log_csv(callbacks.CSVLogger(path, separator=";", append=True), [{"loss": 1.0}])
    assert path.read_text().splitlines() == ["epoch;loss", "0;1.0", "0;1.0"]
    log_csv(callbacks.CSVLogger(path), [{"loss": 2.0}])
    assert path.read_text().splitlines() == ["epoch,loss", "0,2.0"]


def test_csv_odd_values(tmp_path):
    path = tmp_path / "log.csv"
    log_csv(callbacks.CSVLogger(path), [{"v": [1, 2], "s": "text"}, {"s": "only"}])
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    assert rows[0] == {"epoch": "0", "s": "text", "v": '"[1, 2]"'}
    assert rows[1]["v"] == "NA"


@pytest.fixture
def server():
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            received.append((self.path, dict(self.headers), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", received
    http.shutdown()
    thread.join()
    http.server_close()


def test_remote_monitor(server):
    root, received = server
    callbacks.RemoteMonitor(root=root, field="f").on_epoch_end(3, {"loss": np.float32(0.5)})
    callbacks.RemoteMonitor(
        root=root, path="/x", headers={"A": "b"}, send_as_json=True
    ).on_epoch_end(4, {"list": np.array([1, 2])})
    path, headers, body = received[0]
    assert path == "/publish/epoch/end/" and headers["Content-Type"] == "application/json"
    assert json.loads(urllib.parse.parse_qs(body)["f"][0]) == {"epoch": 3, "loss": 0.5}
    path, headers, body = received[1]
    assert path == "/x" and headers["A"] == "b" and json.loads(body) == {"epoch": 4, "list": [1, 2]}


def test_a_remote_monitor_without_a_server_warns_and_goes_on():
    with pytest.warns(UserWarning, match="could not reach"):
        callbacks.RemoteMonitor(root="http://127.0.0.1:9").on_epoch_end(0, {"loss": 1.0})
