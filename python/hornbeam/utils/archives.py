"""Unpacking archives so that nothing lands outside the folder meant, and nothing half-way in it."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable

from ..errors import UnsafeFileError


def extract_archive(
    file_path: str, path: str = ".", archive_format: str | Iterable[str] | None = "auto"
) -> bool:
    """Unpack a tar (plain or compressed) or zip file.

    The files are unpacked beside their destination first and then moved, so that an interrupted
    call leaves the destination as it was.

    Args:
        file_path: the archive.
        path: the folder to unpack into; it is made if need be.
        archive_format: 'tar', 'zip', 'auto' for both, a list of these, or None for neither.

    Returns:
        Whether the file was an archive of such a format.

    Raises:
        UnsafeFileError: when a member would land outside the folder, or is a device.
        ValueError: for an unknown format.
    """
    if archive_format is None:
        return False
    if isinstance(archive_format, str):
        archive_format = ["tar", "zip"] if archive_format == "auto" else [archive_format]
    for kind in archive_format:
        if kind not in ("tar", "zip"):
            raise ValueError(f"Unknown archive_format: {kind!r}. Expected 'auto', 'tar' or 'zip'.")
        if kind == "tar" and tarfile.is_tarfile(file_path):
            _extract(file_path, path, _unpack_tar)
            return True
        if kind == "zip" and zipfile.is_zipfile(file_path):
            _extract(file_path, path, _unpack_zip)
            return True
    return False


def _extract(file_path: str, path: str, unpack) -> None:
    os.makedirs(path, exist_ok=True)
    # In the same folder, hence on the same file system: moving is then one rename.
    scratch = tempfile.mkdtemp(prefix=".unpacking-", dir=path)
    try:
        unpack(file_path, scratch)
        _move_into(scratch, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpack_tar(file_path: str, folder: str) -> None:
    with tarfile.open(file_path) as archive:
        members = archive.getmembers()
        for member in members:
            _check_tar_member(file_path, member)
        # The check above is the same on every Python; where tarfile has its own, both apply.
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, members=members, filter="data")
        else:
            archive.extractall(folder, members=members)


def _check_tar_member(file_path: str, member: tarfile.TarInfo) -> None:
    _check_name(file_path, member.name)
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise UnsafeFileError(f"{file_path}: {member.name!r} is a device; nothing was unpacked.")
    if member.issym():
        _check_name(file_path, posixpath.join(posixpath.dirname(member.name), member.linkname))
        if posixpath.isabs(member.linkname):
            _refuse(file_path, member.linkname)
    elif member.islnk():
        _check_name(file_path, member.linkname)


def _unpack_zip(file_path: str, folder: str) -> None:
    with zipfile.ZipFile(file_path) as archive:
        for info in archive.infolist():
            _check_name(file_path, info.filename)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise UnsafeFileError(
                    f"{file_path}: {info.filename!r} is a link inside a zip; nothing was unpacked."
                )
        archive.extractall(folder)


def _check_name(file_path: str, name: str) -> None:
    plain = name.replace("\\", "/")
    first = posixpath.normpath(plain).split("/")[0]
    if plain.startswith("/") or first == ".." or os.path.splitdrive(name)[0] or ":" in first:
        _refuse(file_path, name)


def _refuse(file_path: str, name: str) -> None:
    raise UnsafeFileError(
        f"{file_path}: the member {name!r} leads outside the folder; nothing was unpacked."
    )


def _move_into(source: str, target: str) -> None:
    """Move everything in one folder into another, merging folders and replacing files."""
    for entry in os.scandir(source):
        place = os.path.join(target, entry.name)
        both_folders = entry.is_dir(follow_symlinks=False) and os.path.isdir(place)
        if both_folders and not os.path.islink(place):
            _move_into(entry.path, place)
            continue
        if os.path.isdir(place) and not os.path.islink(place):
            shutil.rmtree(place)
        os.replace(entry.path, place)
