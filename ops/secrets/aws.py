"""A secret in AWS Secrets Manager. Region, endpoint and credentials come from the usual `AWS_*` settings and files."""

from __future__ import annotations

import json
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ops.secrets.unreadable import Unreadable

#: One answer takes at most 3 tries of 3 + 5 s and the pauses between them, which grow and are jittered (at most 20 s).
_CONFIG = Config(
    connect_timeout=3,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=2,
)


class AwsSource:
    """`secret-id[#json-key]`: a whole secret, or one text of a secret that is a JSON object. Reads its `AWSCURRENT` version."""

    def __init__(self, variable: str, name: str, every: float) -> None:
        self.every = every
        self._variable = variable
        self._id, _, self._member = name.partition("#")
        self._client: Any = None

    def may_differ(self) -> bool:
        """Only the service knows."""
        return True

    def read(self) -> str:
        """Ask the service; see `ops.secrets.sources.Source`."""
        try:
            if self._client is None:
                # A session of its own: the default one is not safe to be made on two threads at once.
                self._client = boto3.session.Session().client("secretsmanager", config=_CONFIG)
            found = self._client.get_secret_value(SecretId=self._id)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown error")
            raise self._unreadable(f"{code}. Check the id, the region and this process's permissions.") from None
        except (BotoCoreError, ValueError) as error:
            raise self._unreadable(
                f"{type(error).__name__}. Check AWS_REGION, the credentials and the network."
            ) from None
        text = found.get("SecretString")
        if not isinstance(text, str):
            raise self._unreadable("it is binary. Store it as text.")
        return (self._part(text) if self._member else text).strip()

    def _part(self, text: str) -> str:
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict) or not isinstance(value.get(self._member), str):
            raise self._unreadable(f"it is no JSON object with a text under {self._member}. Name another key behind #.")
        return str(value[self._member])

    def _unreadable(self, why: str) -> Unreadable:
        return Unreadable(f"{self._variable}: cannot read the secret {self._id}: {why}")
