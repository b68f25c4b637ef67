"""Callbacks that write models and logs to files, or send them away."""

from __future__ import annotations

import csv
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..utils.user_warnings import warn
from .base import Callback, as_logs
from .stopping import monitor_direction


class ModelCheckpoint(Callback):
    """Save the model after epochs."""

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        period: int = 1,
    ) -> None:
        """Say what to save, where and when.

        Args:
            filepath: the file's name. It may hold `{epoch}` (counted from 0) and any quantity of
                the epoch's logs, as in `'weights.{epoch:02d}-{val_loss:.2f}.h5'`.
            monitor: the quantity that decides which model is the best.
            verbose: 1 prints a line for each file.
            save_best_only: whether only an improvement is saved.
            save_weights_only: whether the weights alone are saved.
            mode: 'min', 'max' or 'auto' (by the quantity's name).
            period: epochs between two files.
        """
        super().__init__()
        self.filepath = os.fspath(filepath)
        self.monitor = monitor
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.period = period
        self.epochs_since_last_save = 0
        higher = monitor_direction(mode, monitor, "ModelCheckpoint") == "max"
        self.monitor_op = np.greater if higher else np.less
        self.best: Any = -np.inf if higher else np.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save the model if it is time.

        Raises:
            KeyError: when the file's name asks for a quantity that is not in `logs`.
        """
        self.epochs_since_last_save += 1
        if self.epochs_since_last_save < self.period:
            return
        self.epochs_since_last_save = 0
        values = as_logs(logs)
        path = self._path(epoch, values)
        if not self.save_best_only:
            self._save(path, f"Epoch {epoch:05d}: saving model to {path}")
            return
        current = values.get(self.monitor)
        if current is None:
            warn(
                f"Can save best model only with {self.monitor} available, skipping. "
                f"Available are: {', '.join(sorted(values)) or 'none'}",
                RuntimeWarning,
            )
        elif self.monitor_op(current, self.best):
            message = (
                f"Epoch {epoch:05d}: {self.monitor} improved from {self.best:0.5f} "
                f"to {current:0.5f}, saving model to {path}"
            )
            self.best = current
            self._save(path, message)
        elif self.verbose > 0:
            print(f"Epoch {epoch:05d}: {self.monitor} did not improve")

    def _path(self, epoch: int, values: dict[str, Any]) -> str:
        names = as_logs({**values, "epoch": epoch})
        try:
            return self.filepath.format_map(names)
        except KeyError as error:
            raise KeyError(
                f"ModelCheckpoint: the file name {self.filepath!r} asks for {error}, which is not "
                f"in the logs. Available are: {', '.join(sorted(names))}"
            ) from None

    def _save(self, path: str, message: str) -> None:
        if self.verbose > 0:
            print(message)
        save = self.model.save_weights if self.save_weights_only else self.model.save
        save(path, overwrite=True)


class CSVLogger(Callback):
    """Write the logs of each epoch as a row of a CSV file, the epoch's number first."""

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        """Say where to write.

        Args:
            filename: the file.
            separator: the character between two columns.
            append: whether rows are added to a file that exists; otherwise it is overwritten.
        """
        super().__init__()
        self.filename = os.fspath(filename)
        self.sep = separator
        self.append = append
        self.append_header = True
        self.writer: csv.DictWriter | None = None
        self.keys: list[str] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the file."""
        if self.append and os.path.exists(self.filename):
            self.append_header = os.path.getsize(self.filename) == 0
        self.csv_file = open(  # noqa: SIM115 - stays open for the run
            self.filename, "a" if self.append else "w", newline="", encoding="utf-8"
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a row; the first one decides on the columns."""
        values = as_logs(logs)
        if self.writer is None:
            self.keys = sorted(values)
            self.writer = csv.DictWriter(
                self.csv_file, fieldnames=["epoch", *self.keys], delimiter=self.sep
            )
            if self.append_header:
                self.writer.writeheader()
        row = {key: _cell(values.get(key, "NA")) for key in self.keys}
        self.writer.writerow({"epoch": epoch, **row})
        self.csv_file.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the file."""
        self.csv_file.close()
        self.writer = None


def _cell(value: Any) -> Any:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value
    return f'"[{", ".join(map(str, value))}]"'


class RemoteMonitor(Callback):
    """Send the logs of each epoch to a web server, as an HTTP POST."""

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: dict[str, str] | None = None,
        send_as_json: bool = False,
        timeout: float = 10.0,
    ) -> None:
        """Say where to send.

        Args:
            root: the server.
            path: the path on it.
            field: the form field that holds the JSON text.
            headers: HTTP headers; `Accept` and `Content-Type` of JSON by default.
            send_as_json: whether the body is the JSON text itself, without a form field.
            timeout: seconds to wait for the server.
        """
        super().__init__()
        json_type = "application/json"
        self.root = root
        self.path = path
        self.field = field
        self.headers = headers or {"Accept": json_type, "Content-Type": json_type}
        self.send_as_json = send_as_json
        self.timeout = timeout

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Send an epoch; a server that does not answer is warned about and training goes on."""
        text = json.dumps({"epoch": epoch, **(logs or {})}, default=_plain)
        body = text if self.send_as_json else urllib.parse.urlencode({self.field: text})
        request = urllib.request.Request(
            self.root + self.path, data=body.encode(), headers=self.headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                response.read()
        except OSError as error:
            warn(f"Warning: could not reach RemoteMonitor root server at {self.root}: {error}")


def _plain(value: Any) -> Any:
    """Turn what NumPy computed into what JSON knows."""
    return np.asarray(value).tolist()
