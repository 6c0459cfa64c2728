"""Object stores on this machine, each a process of its own that real clients talk to.

S3 is moto's server, found through Beam's own flags. Google Cloud Storage is
gcp-storage-emulator, found through `STORAGE_EMULATOR_HOST` as any client of Google's finds
one, with credentials that need nobody to renew them.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest

BUCKET = "corpora"
_S3_PROGRAM = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
_GOOGLE_PROGRAM = """
import sys, urllib.parse
from gcp_storage_emulator.server import RequestHandler, create_server
from gcp_storage_emulator.storage import Storage

# As Google does and the emulator does not: what was to be new and is not is refused, and a list
# has the names of a range. The server answers one request at a time.
asked, post, get = {}, RequestHandler.do_POST, RequestHandler.do_GET
file_list = Storage.get_file_list

def do_POST(self):
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    bucket = url.path.partition("/b/")[2].partition("/")[0]
    there = query.get("name") in self.storage.objects.get(bucket, {})
    if there and query.get("ifGenerationMatch") == "0":
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(412)
        self.send_header("Content-Length", "0")
        self.end_headers()
    else:
        post(self)

def do_GET(self):
    asked.clear()
    asked.update(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
    get(self)

def get_file_list(self, *arguments, **more):
    found, prefixes = file_list(self, *arguments, **more)
    first, end = asked.get("startOffset", ""), asked.get("endOffset")
    return [f for f in found if first <= f["name"] and (not end or f["name"] < end)], prefixes

RequestHandler.do_POST, RequestHandler.do_GET = do_POST, do_GET
Storage.get_file_list = get_file_list
server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=sys.argv[1])
server.start()
print(server._api._httpd.server_address[1], flush=True)
sys.stdin.read()
"""
_CREDENTIALS = {
    "type": "authorized_user",
    "client_id": "client",
    "client_secret": "secret",
    "refresh_token": "refresh",
    "token": "token",
    "expiry": "2099-01-01T00:00:00Z",
}


class Store:
    """A running server with one bucket.

    Attributes:
      root: url of the bucket.
      flags: Beam's flags that lead `root` here.
    """

    root: str
    flags: Sequence[str] = ()

    def put(self, url: str, content: bytes) -> None:
        raise NotImplementedError

    def content(self, url: str) -> bytes:
        raise NotImplementedError

    def names(self, url: str) -> list[str]:
        """Names of all objects below a url."""
        raise NotImplementedError

    def remove(self, url: str) -> None:
        raise NotImplementedError

    def upload(self, folder: Path, prefix: str) -> str:
        """Puts a folder's files into the bucket; returns their url."""
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                name = path.relative_to(folder).as_posix()
                self.put(f"{self.root}/{prefix}/{name}", path.read_bytes())
        return f"{self.root}/{prefix}"

    def download(self, url: str, folder: Path) -> Path:
        for name in self.names(url):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(self.content(f"{url}/{name}"))
        return folder

    def key(self, url: str) -> str:
        """The name of an object in the bucket."""
        return url.removeprefix(f"{self.root}/")


class S3Store(Store):
    """A server of S3."""

    root = f"s3://{BUCKET}"

    def __init__(self, endpoint: str) -> None:
        self.flags = (
            f"--s3_endpoint_url={endpoint}",
            "--s3_access_key_id=key",
            "--s3_secret_access_key=secret",
            "--s3_region_name=us-east-1",
        )
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        self._client.create_bucket(Bucket=BUCKET)

    def put(self, url: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=self.key(url), Body=content)

    def content(self, url: str) -> bytes:
        return self._client.get_object(Bucket=BUCKET, Key=self.key(url))["Body"].read()

    def names(self, url: str) -> list[str]:
        prefix = self.key(url) + "/"
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        found = [entry for page in pages for entry in page.get("Contents", [])]
        return [entry["Key"].removeprefix(prefix) for entry in found]

    def remove(self, url: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=self.key(url))


class GoogleStore(Store):
    """A server of Google Cloud Storage."""

    root = f"gs://{BUCKET}"

    def __init__(self) -> None:
        # Only with the extra `dataflow`.
        from google.cloud import storage

        self._bucket = storage.Client.create_anonymous_client().bucket(BUCKET)

    def put(self, url: str, content: bytes) -> None:
        self._bucket.blob(self.key(url)).upload_from_string(content, "application/octet-stream")

    def content(self, url: str) -> bytes:
        return self._bucket.blob(self.key(url)).download_as_bytes(raw_download=True)

    def names(self, url: str) -> list[str]:
        prefix = self.key(url) + "/"
        found = self._bucket.client.list_blobs(BUCKET, prefix=prefix)
        return [blob.name.removeprefix(prefix) for blob in found]

    def remove(self, url: str) -> None:
        self._bucket.blob(self.key(url)).delete()


def running_store_of(kind: str, folder: Path) -> contextlib.AbstractContextManager[Store]:
    """A server of `s3` or `gs`; skips the test where the client is not installed."""
    if kind == "s3":
        return running_store()
    pytest.importorskip("google.cloud.storage", reason="the extra `dataflow` is not installed")
    return _running_google_store(folder)


@contextlib.contextmanager
def running_store() -> Iterator[Store]:
    """A server of S3."""
    with _running(_S3_PROGRAM) as port:
        yield S3Store(f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def _running_google_store(folder: Path) -> Iterator[Store]:
    """In this process' environment while it runs; `folder` gets the credentials."""
    path = folder / "credentials.json"
    path.write_text(json.dumps(_CREDENTIALS))
    with _running(_GOOGLE_PROGRAM, BUCKET) as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", os.fspath(path))
        yield GoogleStore()


@contextlib.contextmanager
def _running(program: str, *arguments: str) -> Iterator[str]:
    """The port that a server's program prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        for _ in range(100):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}"):
                break
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()
