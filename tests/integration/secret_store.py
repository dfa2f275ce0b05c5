"""A real server that speaks AWS Secrets Manager's protocol (moto), started by a test on a free port with made-up credentials."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3

from ops.stack.home import LOOPBACK
from ops.stack.probes import listens
from tests import stack as stacks

REGION = "eu-central-1"


class SecretStore:
    """Where it listens, and what is in it."""

    def __init__(self, address: str) -> None:
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.client: Any = boto3.client(
            "secretsmanager",
            endpoint_url=f"http://{address}",
            region_name=REGION,
            aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
        )

    def put(self, name: str, text: str) -> None:
        """Make the secret, or give it a new current version."""
        try:
            self.client.put_secret_value(SecretId=name, SecretString=text)
        except self.client.exceptions.ResourceNotFoundException:
            self.client.create_secret(Name=name, SecretString=text)


@contextmanager
def secret_store() -> Iterator[SecretStore]:
    """A store of its own, empty."""
    address = f"{LOOPBACK}:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", address.rpartition(":")[2]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        stacks.wait_until(lambda: listens(address), 60, "moto does not listen")
        yield SecretStore(address)
    finally:
        process.kill()
        process.wait(5)


def free_port() -> int:
    """A port of the loopback address that nobody has now."""
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        return int(one.getsockname()[1])
