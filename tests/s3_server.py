"""A real S3 server on localhost for tests: moto's, over HTTP, which pyarrow's C++ client, boto3 and any subprocess speak to alike.

In a process of its own, with folders in the bucket, until it is ended:    python -m tests.s3_server ADDRESS PORT [NAME=FOLDER …]
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BUCKET = "clinic"
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def s3_server(address: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[dict[str, str], Any]]:
    """(what the environment needs, a boto3 client); one bucket, BUCKET, is there."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=address, port=port, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
        # moto keeps its buckets by the process: what a server before this one was given is forgotten
        forget = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
        with urllib.request.urlopen(forget, timeout=30):
            pass
        client = boto3.client(
            "s3",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        client.create_bucket(Bucket=BUCKET)
        yield environment, client
    finally:
        server.stop()


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """This process with these variables, and with no client of before."""
    from codelib.core.objects import file_system

    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    file_system.cache_clear()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        file_system.cache_clear()


def upload(client: Any, folder: str | os.PathLike[str], prefix: str) -> None:
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            client.upload_file(path, BUCKET, f"{prefix}/{os.path.relpath(path, folder)}")


def keys(client: Any, prefix: str = "") -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def main(address: str, port: str, *folders: str) -> None:
    with s3_server(address, int(port)) as (_, client):
        for name, _, folder in (given.partition("=") for given in folders):
            upload(client, folder, name)
        print("ready", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
