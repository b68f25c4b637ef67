"""Fetching files over the network into a cache: whole, checked, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, BinaryIO

from ..errors import ChecksumError, DownloadError
from .archives import extract_archive
from .progbar import Progbar

try:
    import fcntl
except ImportError:  # not on Windows; two processes may then fetch the same file twice
    fcntl = None  # type: ignore[assignment]

_CHUNK = 1 << 16
_ATTEMPTS = 3
_TIMEOUT = 60.0


def get_file(
    fname: str,
    origin: str,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str | list[str] | None = "auto",
    cache_dir: str | None = None,
) -> str:
    """Return the path of a file, fetching it if it is not in the cache.

    The file is `<cache_dir>/<cache_subdir>/<fname>`; an absolute `cache_subdir` or `fname` is taken
    as it is. It appears there only when it is whole and its digest is right. A fetch that broke off
    goes on where it ended, where the server allows that.

    Args:
        fname: the file's name.
        origin: the URL.
        untar: whether the file is a tar archive to unpack: it is kept as `<fname>.tar.gz`, and the
            path returned is that of the folder `fname`. Use `extract` instead.
        md5_hash: the MD5 digest. Use `file_hash` instead.
        file_hash: the digest that the file must have, in hexadecimal.
        cache_subdir: the folder inside the cache.
        hash_algorithm: 'md5', 'sha256' or 'auto' (by the digest's length).
        extract: whether to unpack the file, if it is an archive, in the folder it lies in.
        archive_format: 'tar', 'zip', 'auto' for both, a list of these, or None.
        cache_dir: the cache; `$KERAS_HOME`, else `~/.keras`, by default.

    Raises:
        DownloadError: when the file cannot be fetched.
        ChecksumError: when what was fetched has another digest.
        UnsafeFileError: when the archive's members lead outside their folder.
    """
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    folder = _cache_folder(cache_dir, cache_subdir)
    unpacked = os.path.join(folder, fname)
    path = f"{unpacked}.tar.gz" if untar else unpacked
    os.makedirs(os.path.dirname(path), exist_ok=True)

    if untar and os.path.exists(unpacked) and not os.path.exists(path):
        return unpacked  # the archive was thrown away, or the folder put there by hand
    if not _is_valid(path, file_hash, hash_algorithm, report=True):
        _fetch(origin, path, file_hash, hash_algorithm)
    if untar:
        if not os.path.exists(unpacked):
            extract_archive(path, folder, archive_format="tar")
        return unpacked
    if extract:
        extract_archive(path, folder, archive_format)
    return path


def validate_file(
    fpath: str, file_hash: str, algorithm: str = "auto", chunk_size: int = 65535
) -> bool:
    """Tell whether a file has a digest.

    Args:
        fpath: the file.
        file_hash: the digest in hexadecimal.
        algorithm: 'md5', 'sha256' or 'auto' (by the digest's length).
        chunk_size: bytes to read at a time.

    Raises:
        ValueError: for an unknown algorithm.
    """
    hasher = _hasher(algorithm, file_hash)
    with open(fpath, "rb") as f:
        while chunk := f.read(chunk_size):
            hasher.update(chunk)
    return hasher.hexdigest() == str(file_hash).lower()


def _hasher(algorithm: str, file_hash: str) -> Any:
    if algorithm == "auto":
        algorithm = "sha256" if len(file_hash) == 64 else "md5"
    if algorithm not in ("md5", "sha256"):
        raise ValueError(
            f"Unknown hash algorithm: {algorithm!r}. Expected 'auto', 'md5' or 'sha256'."
        )
    return hashlib.new(algorithm, usedforsecurity=False)


def _cache_folder(cache_dir: str | None, cache_subdir: str) -> str:
    if cache_dir is None:
        from ..backend.common import keras_home

        cache_dir = keras_home()
    base = os.path.expanduser(cache_dir)
    with contextlib.suppress(OSError):
        os.makedirs(base, exist_ok=True)
    if not os.access(base, os.W_OK):
        base = os.path.join(tempfile.gettempdir(), ".keras")
    return os.path.join(base, cache_subdir)


def _is_valid(path: str, file_hash: str | None, algorithm: str, report: bool = False) -> bool:
    if not os.path.exists(path):
        return False
    if file_hash is None or validate_file(path, file_hash, algorithm):
        return True
    if report:
        print(
            f"A local file was found ({path}), but it seems to be incomplete or outdated because "
            f"its digest is not the expected {file_hash}, so we will re-download the data."
        )
    return False


def _fetch(origin: str, path: str, file_hash: str | None, algorithm: str) -> None:
    with _partial_file(f"{path}.part") as part:
        # Whoever held the file until now may have finished it.
        if _is_valid(path, file_hash, algorithm):
            _discard(part)
            return
        print("Downloading data from", origin)
        _download(origin, part)
        part.flush()
        os.fsync(part.fileno())
        if file_hash is not None and not validate_file(part.name, file_hash, algorithm):
            _discard(part)
            raise ChecksumError(
                f"The file from {origin} does not have the digest {file_hash}; it was not kept. "
                "It may have been damaged on its way, or changed at its origin."
            )
        _drop_mark(part.name)
        os.replace(part.name, path)


@contextlib.contextmanager
def _partial_file(name: str) -> Iterator[BinaryIO]:
    """Open the file that gathers what is fetched, for one process at a time."""
    while True:
        part = open(name, "a+b")  # noqa: SIM115 - closed below
        if fcntl is not None:
            fcntl.flock(part, fcntl.LOCK_EX)
        # The one before may have renamed or removed the very file that was waited for.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(part.fileno()), os.stat(name)):
                break
        part.close()
    try:
        yield part
    finally:
        part.close()


def _discard(part: BinaryIO) -> None:
    _drop_mark(part.name)
    with contextlib.suppress(FileNotFoundError):
        os.remove(part.name)


def _download(origin: str, part: BinaryIO) -> None:
    """Append to `part` until it holds all of `origin`; drop it when going on later is no use."""
    try:
        for attempt in range(_ATTEMPTS):
            try:
                _transfer(origin, part)
                return
            except urllib.error.HTTPError as error:
                if error.code == 416 and attempt + 1 < _ATTEMPTS:  # what there is does not fit
                    _drop_mark(part.name)
                    continue
                raise
            except (http.client.HTTPException, ConnectionError, TimeoutError):
                if attempt + 1 == _ATTEMPTS:
                    raise
    except urllib.error.HTTPError as error:
        _discard_unless_marked(part)
        raise DownloadError(
            f"URL fetch failure on {origin}: {error.code} -- {error.msg}"
        ) from error
    except (http.client.HTTPException, OSError) as error:
        _discard_unless_marked(part)
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"URL fetch failure on {origin}: {reason}") from error
    except BaseException:
        _discard_unless_marked(part)
        raise


def _transfer(origin: str, part: BinaryIO) -> None:
    part.seek(0, os.SEEK_END)
    mark = _read_mark(part.name)
    request = urllib.request.Request(origin)
    if mark is not None and mark["origin"] == origin and part.tell():
        request.add_header("Range", f"bytes={part.tell()}-")
        request.add_header("If-Range", mark["version"])
    else:
        part.truncate(0)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        if getattr(response, "status", None) != 206:
            part.truncate(0)
        _write_mark(part.name, origin, response)
        length = response.headers.get("Content-Length")
        start = os.fstat(part.fileno()).st_size
        total = None if length is None else start + int(length)
        bar = Progbar(total or None)
        got = start
        while chunk := response.read(_CHUNK):
            part.write(chunk)
            got += len(chunk)
            bar.update(got)
        part.flush()
        if total is not None and got < total:
            raise http.client.IncompleteRead(b"", total - got)


def _mark_path(part: str) -> str:
    return f"{part}.json"


def _read_mark(part: str) -> dict[str, str] | None:
    try:
        with open(_mark_path(part), encoding="utf-8") as f:
            mark = json.load(f)
        return mark if {"origin", "version"} <= set(mark) else None
    except (OSError, ValueError, TypeError):
        return None


def _write_mark(part: str, origin: str, response: Any) -> None:
    """Note which version of the file is being fetched, if the server can go on with it later."""
    version = response.headers.get("ETag") or ""
    if version.startswith("W/"):
        version = ""  # a weak tag does not promise the same bytes
    version = version or response.headers.get("Last-Modified") or ""
    if response.headers.get("Accept-Ranges") != "bytes" and response.status != 206:
        version = ""
    if not version:
        _drop_mark(part)
        return
    with open(_mark_path(part), "w", encoding="utf-8") as f:
        json.dump({"origin": origin, "version": version}, f)


def _drop_mark(part: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(_mark_path(part))


def _discard_unless_marked(part: BinaryIO) -> None:
    if _read_mark(part.name) is None or not os.fstat(part.fileno()).st_size:
        _discard(part)
