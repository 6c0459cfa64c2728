"""An S3 server on this machine: a process of its own, found through Beam's own flags."""

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

BUCKET = "corpora"
_PROGRAM = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class Store:
    """A running server with one bucket."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def flags(self) -> list[str]:
        """Beam's flags that lead `s3://` here."""
        return [
            f"--s3_endpoint_url={self.endpoint}",
            "--s3_access_key_id=key",
            "--s3_secret_access_key=secret",
            "--s3_region_name=us-east-1",
        ]

    def upload(self, folder: Path, prefix: str) -> str:
        """Puts a folder's files into the bucket; returns their url."""
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        return f"s3://{BUCKET}/{prefix}"

    def content(self, url: str) -> bytes:
        key = url.removeprefix(f"s3://{BUCKET}/")
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def names(self, url: str) -> list[str]:
        """Names of all objects below a url."""
        prefix = url.removeprefix(f"s3://{BUCKET}/") + "/"
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [entry["Key"].removeprefix(prefix) for entry in found]

    def download(self, url: str, folder: Path) -> Path:
        for name in self.names(url):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(self.content(f"{url}/{name}"))
        return folder


@contextlib.contextmanager
def running_store() -> Iterator[Store]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        endpoint = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        for _ in range(100):
            with contextlib.suppress(OSError), urllib.request.urlopen(endpoint):
                break
            time.sleep(0.1)
        yield Store(endpoint)
    finally:
        process.kill()
        process.wait()
