"""Fetching files from a server on the loopback interface: caching, digests, breaks, archives."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from hornbeam.errors import ChecksumError, DownloadError, UnsafeFileError
from hornbeam.utils import data_utils
from hornbeam.utils.data_utils import extract_archive, get_file, validate_file

BODY = np.random.RandomState(0).bytes(300_000)
SHA = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


class Server:
    """A web server that breaks connections off after so many bytes, as often as told."""

    def __init__(self):
        self.body = BODY
        self.tag = '"v1"'
        self.ranges = True
        self.break_after = []
        self.requests = []
        self.status = 200
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.headers.get("Range"))
                server.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/data.bin"

    def answer(self, handler):
        if self.status != 200:
            handler.send_error(self.status)
            return
        start = 0
        wanted = handler.headers.get("Range")
        if self.ranges and wanted and handler.headers.get("If-Range") == self.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            handler.send_response(206)
        else:
            handler.send_response(200)
        if self.ranges:
            handler.send_header("Accept-Ranges", "bytes")
            handler.send_header("ETag", self.tag)
        rest = self.body[start:]
        handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        if self.break_after:
            handler.wfile.write(rest[: self.break_after.pop(0)])
            handler.wfile.flush()
            handler.connection.close()
        else:
            handler.wfile.write(rest)

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def contents(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"file_hash": SHA},
        {"file_hash": SHA.upper(), "hash_algorithm": "sha256"},
        {"file_hash": MD5},
        {"md5_hash": MD5},
    ],
)
def test_a_file_is_fetched_once(server, home, keywords, capsys):
    for _ in range(2):
        path = get_file("data.bin", server.url, **keywords)
    assert path == str(home / "datasets" / "data.bin")
    with open(path, "rb") as f:
        assert f.read() == BODY
    assert len(server.requests) == 1
    assert contents(home) == ["data.bin"]
    assert f"Downloading data from {server.url}" in capsys.readouterr().out


def test_places(server, tmp_path):
    assert get_file("a", server.url, cache_subdir="x/y", cache_dir=str(tmp_path / "c")) == str(
        tmp_path / "c" / "x" / "y" / "a"
    )
    absolute = str(tmp_path / "elsewhere" / "b")
    assert get_file(absolute, server.url) == absolute
    assert os.path.getsize(absolute) == len(BODY)


def test_a_cached_file_with_another_digest_is_fetched_again(server, home, capsys):
    path = home / "datasets" / "data.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    get_file("data.bin", server.url, file_hash=SHA)
    assert path.read_bytes() == BODY
    assert "incomplete or outdated" in capsys.readouterr().out


def test_a_wrong_digest_leaves_nothing(server, home):
    with pytest.raises(ChecksumError, match="0000"):
        get_file("data.bin", server.url, file_hash="0" * 64)
    assert contents(home) == []


def test_a_wrong_digest_leaves_the_file_there_was(server, home):
    path = home / "datasets" / "data.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    with pytest.raises(ChecksumError):
        get_file("data.bin", server.url, file_hash="0" * 64)
    assert path.read_bytes() == b"old" and contents(home) == ["data.bin"]


def test_an_error_of_the_server_is_told(server, home):
    server.status = 404
    with pytest.raises(DownloadError, match="404"):
        get_file("data.bin", server.url)
    assert contents(home) == []
    with pytest.raises(DownloadError, match="URL fetch failure on http://127.0.0.1:9/"):
        get_file("data.bin", "http://127.0.0.1:9/")
    assert contents(home) == []


def test_a_broken_connection_goes_on_where_it_ended(server, home):
    server.break_after = [100_000, 50_000]
    path = get_file("data.bin", server.url, file_hash=SHA)
    assert os.path.getsize(path) == len(BODY)
    assert server.requests == [None, "bytes=100000-", "bytes=150000-"]


def test_a_fetch_that_failed_is_resumed_by_the_next_call(server, home):
    server.break_after = [1000, 1000, 1000]
    with pytest.raises(DownloadError):
        get_file("data.bin", server.url)
    assert not (home / "datasets" / "data.bin").exists()
    get_file("data.bin", server.url, file_hash=SHA)
    assert server.requests[-1] == "bytes=3000-"
    assert contents(home) == ["data.bin"]


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(server, home):
    server.break_after = [1000, 1000, 1000]
    with pytest.raises(DownloadError):
        get_file("data.bin", server.url)
    server.tag, server.body = '"v2"', BODY[::-1]
    path = get_file("data.bin", server.url)
    with open(path, "rb") as f:
        assert f.read() == BODY[::-1]


def test_without_ranges_no_half_file_stays(server, home):
    server.ranges = False
    server.break_after = [1000, 1000, 1000]
    with pytest.raises(DownloadError):
        get_file("data.bin", server.url)
    assert contents(home) == []
    server.break_after = [1000]
    get_file("data.bin", server.url, file_hash=SHA)


def test_many_at_once_fetch_once(server, home):
    paths = []

    def fetch():
        paths.append(get_file("data.bin", server.url, file_hash=SHA))

    threads = [threading.Thread(target=fetch) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1 and len(paths) == 5
    assert len(server.requests) == 1
    assert contents(home) == ["data.bin"]


def test_local_files_are_an_origin_too(tmp_path, home):
    (tmp_path / "source").write_bytes(BODY)
    path = get_file("copy", (tmp_path / "source").as_uri(), file_hash=SHA)
    with open(path, "rb") as f:
        assert f.read() == BODY


def test_validate_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(BODY)
    assert validate_file(path, SHA) and validate_file(path, MD5)
    assert validate_file(path, SHA, "sha256", chunk_size=7)
    assert not validate_file(path, SHA, "md5") and not validate_file(path, "0" * 32)
    with pytest.raises(ValueError, match="crc"):
        validate_file(path, SHA, "crc")


def tar_bytes(members, mode="w:gz"):
    """A tar file of `(name, content)`; a content that is a TarInfo is added as it is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


FILES = [("set/one.txt", b"1"), ("set/deep/two.txt", b"2")]


def test_untar(server, home):
    server.body = tar_bytes(FILES)
    for _ in range(2):
        path = get_file("set", server.url, untar=True)
    assert path == str(home / "datasets" / "set")
    assert contents(home) == ["one.txt", "set.tar.gz", "two.txt"]
    assert (home / "datasets" / "set" / "deep" / "two.txt").read_bytes() == b"2"


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_extract(server, home, make):
    server.body = make(FILES)
    path = get_file("archive", server.url, extract=True)
    assert path == str(home / "datasets" / "archive")
    assert contents(home) == ["archive", "one.txt", "two.txt"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_formats(tmp_path, mode):
    path = tmp_path / "a"
    path.write_bytes(tar_bytes(FILES, mode))
    out = tmp_path / "out"
    assert not extract_archive(str(path), str(out), None)
    assert not extract_archive(str(path), str(out), "zip")
    assert not extract_archive(str(path), str(out), [])
    assert extract_archive(str(path), str(out), ["zip", "tar"])
    assert contents(out) == ["one.txt", "two.txt"]
    with pytest.raises(ValueError, match="'rar'"):
        extract_archive(str(path), str(out), "rar")


def test_unpacking_merges_into_what_is_there(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "kept.txt").write_bytes(b"k")
    (tmp_path / "set" / "one.txt").write_bytes(b"old")
    archive = tmp_path / "a"
    archive.write_bytes(zip_bytes(FILES))
    extract_archive(str(archive), str(tmp_path))
    assert contents(tmp_path) == ["a", "kept.txt", "one.txt", "two.txt"]
    assert (tmp_path / "set" / "one.txt").read_bytes() == b"1"


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


def device(name):
    info = tarfile.TarInfo(name)
    info.type = tarfile.CHRTYPE
    return name, info


@pytest.mark.parametrize(
    "bad",
    [
        ("../evil", b"x"),
        ("/tmp/evil", b"x"),
        ("a/../../evil", b"x"),
        ("..\\evil", b"x"),
        link("a/l", "../../evil", tarfile.SYMTYPE),
        link("l", "/etc/passwd", tarfile.SYMTYPE),
        link("l", "../evil", tarfile.LNKTYPE),
        device("null"),
    ],
    ids=lambda bad: bad[0],
)
def test_a_tar_that_leads_outside_is_refused_whole(tmp_path, bad):
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_bytes([*FILES, bad]))
    out = tmp_path / "out"
    with pytest.raises(UnsafeFileError, match="nothing was unpacked"):
        extract_archive(str(archive), str(out))
    assert contents(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "C:/evil"])
def test_a_zip_that_leads_outside_is_refused_whole(tmp_path, name):
    archive = tmp_path / "a.zip"
    archive.write_bytes(zip_bytes([*FILES, (name, b"x")]))
    with pytest.raises(UnsafeFileError):
        extract_archive(str(archive), str(tmp_path / "out"))
    assert contents(tmp_path) == ["a.zip"]


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("l")
    info.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    with pytest.raises(UnsafeFileError, match="link"):
        extract_archive(str(tmp_path / "a.zip"), str(tmp_path / "out"))


def test_links_inside_are_kept(tmp_path):
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_bytes([*FILES, link("set/deep/l", "../one.txt", tarfile.SYMTYPE)]))
    extract_archive(str(archive), str(tmp_path / "out"))
    assert (tmp_path / "out" / "set" / "deep" / "l").read_bytes() == b"1"


def test_a_truncated_archive_leaves_the_folder_as_it_was(tmp_path):
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_bytes([("big", BODY), ("after", b"x")], "w")[:100_000])
    with pytest.raises((tarfile.TarError, EOFError, OSError)):
        extract_archive(str(archive), str(tmp_path / "out"))
    assert contents(tmp_path / "out") == []


def test_public_names():
    assert data_utils.get_file is get_file
