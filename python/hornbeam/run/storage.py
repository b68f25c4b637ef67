"""Files here or in any store that fsspec knows: `s3://bucket/key`, `gs://...`, `memory://...`."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import MissingDependencyError

_LATEST = "LATEST"
# In the folder of checkpoints: the run that writes there.
OWNER = "OWNER"


def is_remote(path: str) -> bool:
    """Tell whether a path is a store's address instead of a file of this machine."""
    return "://" in path


def _filesystem(path: str) -> tuple[Any, str]:
    try:
        import fsspec
        from fsspec.registry import known_implementations
    except ImportError as error:
        raise MissingDependencyError("fsspec", f"reading or writing {path}", "cluster") from error
    try:
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        known = known_implementations.get(path.split("://")[0], {})
        package = known.get("class", "fsspec").split(".")[0]
        raise MissingDependencyError(package, f"reading or writing {path}") from error


def open_file(path: str, mode: str = "rb") -> Any:
    """Open a file, here or in a store.

    Args:
        path: the file's path, or its address in a store.
        mode: as for `open`.

    Raises:
        FileNotFoundError: when there is none to read.
        ImportError: when a store needs a package that is not installed.
    """
    if not is_remote(path):
        return open(path, mode)
    filesystem, inner = _filesystem(path)
    return filesystem.open(inner, mode)


def write_whole(path: str, write: Callable[[str], None]) -> None:
    """Put a file in its place at once: a reader finds the old one or the new one, and no part.

    Args:
        path: where to, here or in a store.
        write: writes the file under the local name that it is given, which ends as `path` does.
    """
    name = path.rsplit("/", 1)[-1]
    if not is_remote(path):
        folder = os.path.dirname(os.path.abspath(path))
        os.makedirs(folder, exist_ok=True)
        temporary = os.path.join(folder, f".{uuid.uuid4().hex}-{name}")
        try:
            write(temporary)
            _to_disk(temporary)
            os.replace(temporary, path)
            _to_disk(folder)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return
    filesystem, inner = _filesystem(path)
    with tempfile.TemporaryDirectory() as folder:
        temporary = os.path.join(folder, name)
        write(temporary)
        _put(filesystem, temporary, inner)


def _put(filesystem: Any, source: str, target: str) -> None:
    """Upload a file. An object of a store appears when its upload is complete."""
    try:
        filesystem.put_file(source, target)
    except FileNotFoundError:
        # Some stores want their folders made. In others this is a bucket that is not there, and
        # that nobody has asked to make.
        root, folder = target.lstrip("/").split("/")[0], target.rsplit("/", 1)[0]
        if not filesystem.exists(f"/{root}" if target.startswith("/") else root):
            raise
        filesystem.makedirs(folder, exist_ok=True)
        filesystem.put_file(source, target)


def read_text(path: str) -> str:
    """Return a small file's text as it is now, whatever a store's client remembers.

    Raises:
        FileNotFoundError: when there is none.
    """
    if not is_remote(path):
        return Path(path).read_text()
    filesystem, inner = _filesystem(path)
    return filesystem.cat_file(inner).decode()


def check_writable(path: str) -> None:
    """Write a file beside `path` and remove it, so that an error comes now and not later."""
    beside = f"{os.path.dirname(path)}/.{uuid.uuid4().hex}"
    if not is_remote(path):
        beside = os.path.join(os.path.dirname(os.path.abspath(path)), os.path.basename(beside))
    write_whole(beside, lambda temporary: Path(temporary).touch())
    if not is_remote(path):
        os.unlink(beside)
        return
    filesystem, inner = _filesystem(beside)
    with contextlib.suppress(OSError):  # a key may allow to write and not to delete
        filesystem.rm_file(inner)


def _to_disk(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Mirror:
    """A folder of this machine and its copies in a store.

    Each copy is a folder of its own, and a file LATEST names the last whole one: a copy that was
    cut off is never read. The copy before the last one is kept until there is a newer one.

    Args:
        folder: the folder here.
        address: the folder in the store.
    """

    def __init__(self, folder: str, address: str) -> None:
        self.folder = folder
        self.address = address.rstrip("/")
        self._filesystem, self._inner = _filesystem(self.address)
        self._pushed: dict[str, tuple[int, int]] | None = None

    def pull(self) -> bool:
        """Fetch the latest whole copy; tell whether there was one."""
        latest = self._latest()
        os.makedirs(self.folder, exist_ok=True)
        if latest is None:
            return False
        base = f"{self._inner}/{latest}/"
        self._filesystem.invalidate_cache()
        files = self._filesystem.find(base)
        if not files:
            raise FileNotFoundError(f"{self.address}/{_LATEST} names {latest}, which is not there")
        for found in files:
            target = os.path.join(self.folder, found.split(f"/{latest}/", 1)[1])
            os.makedirs(os.path.dirname(target), exist_ok=True)
            self._filesystem.get_file(found, target)
        self._pushed = self._state()
        return True

    def push(self) -> bool:
        """Copy the folder to the store if it has changed; tell whether it had."""
        state = self._state()
        if not state or state == self._pushed:
            return False
        before = self._latest()
        name = f"{int(before.split('-')[0]) + 1 if before else 0:08d}-{uuid.uuid4().hex[:8]}"
        for relative in state:
            target = f"{self._inner}/{name}/{relative}"
            _put(self._filesystem, os.path.join(self.folder, relative), target)
        self._filesystem.pipe_file(f"{self._inner}/{_LATEST}", name.encode())
        self._pushed = state
        self._drop_all_but({name, before})
        return True

    def _latest(self) -> str | None:
        try:
            return read_text(f"{self.address}/{_LATEST}")
        except FileNotFoundError:
            return None

    def _drop_all_but(self, kept: set[str | None]) -> None:
        for found in self._filesystem.ls(self._inner, detail=False):
            name = found.rstrip("/").rsplit("/", 1)[-1]
            if name not in (_LATEST, OWNER, *kept):
                self._filesystem.rm(found, recursive=True)

    def _state(self) -> dict[str, tuple[int, int]]:
        """Return each file's time and size."""
        found = {}
        for base, _, names in os.walk(self.folder):
            for name in names:
                status = os.stat(os.path.join(base, name))
                relative = os.path.relpath(os.path.join(base, name), self.folder)
                found[relative] = (status.st_mtime_ns, status.st_size)
        return found
