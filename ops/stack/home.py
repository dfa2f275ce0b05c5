"""The home: the folder that holds one stack's data, secrets, logs, ports and addresses."""

from __future__ import annotations

import os
import secrets
import ssl
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from ops.kafka_clients import Kafka
from ops.postgres.clients import with_tls
from ops.stack.errors import StackError
from ops.stack.records import read_json, write_json, write_text
from ops.tls.context import Files, trusting
from ops.tls.store import Certificates

DEFAULT_HOME = ".athena"
LOOPBACK = "127.0.0.1"
DATABASE = "athena"
SUPERUSER = "postgres"
# Process -> the PostgreSQL role it signs in with. `owner` migrates and seeds; the worker has no database.
ROLES = {
    "gateway": "athena_gateway",
    "projector": "athena_projector",
    "notifier": "athena_notifier",
    "owner": "athena_owner",
    "superuser": SUPERUSER,
}
# Which processes sign tokens and cursors.
TOKEN_HOLDERS = frozenset({"gateway", "owner"})
# Which sign checkpoints.
CHECKPOINT_SIGNERS = frozenset({"projector"})


class Home:
    """One stack's folder; makes nothing until `create` is called.

    `Home(path).endpoints()` gives the addresses of a running stack, `Home(path).environment("owner")` the `ATHENA_*`
    variables of one process. The path is made absolute.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path or os.environ.get("ATHENA_HOME") or DEFAULT_HOME).expanduser().absolute()
        self.endpoints_file = self.path / "endpoints.json"
        self.choices_file = self.path / "stack.json"
        self.run_file = self.path / "run.json"
        self.lock_file = self.path / "lock"
        self.secrets = self.path / "secrets"
        self.logs = self.path / "logs"
        self.data = self.path / "data"
        self.certificates = Certificates(self.path / "certs")
        #: The verifier keys of the checkpoints, one a line: for everybody to keep.
        self.vkeys_file = self.path / "checkpoint-vkeys"

    def create(self) -> None:
        """Make the home's folders where they are missing; the secrets' one is for this user alone."""
        for folder, mode in ((self.path, 0o755), (self.secrets, 0o700), (self.logs, 0o755), (self.data, 0o755)):
            if not folder.is_dir():
                folder.mkdir(parents=True)
                folder.chmod(mode)

    # What was chosen once and is kept, so that a restart has the same addresses.

    def choices(self) -> dict[str, Any]:
        """What this home decided: `ports`, `partitions`, `servers`, `cluster_id`, `workers`, `seeded`, `installation`, `tls`."""
        return read_json(self.choices_file)

    def choose(self, **values: Any) -> dict[str, Any]:
        """Keep these choices too; returns all of them."""
        choices = self.choices() | values
        write_json(self.choices_file, choices)
        return choices

    def port(self, name: str) -> int:
        """The port kept for `kafka`, `postgres`, `gateway` or the metrics of a process (`metrics-worker-0`, …).

        Raises:
            StackError: this home was never started.
        """
        ports = self.choices().get("ports", {})
        if name not in ports:
            raise StackError(f"The home {self.path} has no port for {name}. Start it: athena up --home {self.path}")
        return int(ports[name])

    # The running stack.

    def endpoints(self) -> dict[str, Any]:
        """The addresses and pids of the stack, as `endpoints.json` has them.

        Raises:
            StackError: no stack has been started on this home.
        """
        endpoints = read_json(self.endpoints_file)
        if not endpoints:
            raise StackError(f"No stack runs on the home {self.path}. Start one: athena up --detach --home {self.path}")
        return endpoints

    def write_endpoints(self, endpoints: dict[str, Any]) -> None:
        """Replace `endpoints.json` atomically; it holds a database login, so only this user may read it."""
        write_json(self.endpoints_file, endpoints)

    @property
    def installation(self) -> str:
        """This stack's name in its checkpoints."""
        return str(self.choices().get("installation", "athena.local"))

    @property
    def kafka(self) -> Kafka:
        """The broker as the tools reach it."""
        return Kafka(f"{LOOPBACK}:{self.port('kafka')}", self.files("owner"))

    @property
    def gateway(self) -> str:
        """Base URL of the gateway."""
        return f"{'https' if self.tls else 'http'}://{LOOPBACK}:{self.port('gateway')}"

    # Certificates.

    @property
    def tls(self) -> bool:
        """Whether this stack speaks TLS on every line (`athena up --tls`)."""
        return bool(self.choices().get("tls", False))

    @property
    def trust(self) -> ssl.SSLContext | Literal[True]:
        """What an HTTP client takes as `verify` (httpx) or `ssl` (aiohttp): whom it believes to be the gateway."""
        return trusting(self.certificates.ca, "gateway-https") if self.tls else True

    def files(self, service: str) -> Files | None:
        """A service's certificate and whom it believes; None where this stack has plain lines."""
        return self.certificates.files(service) if self.tls else None

    def metrics(self, process: str, index: int = 0) -> str:
        """URL of a process's Prometheus endpoint."""
        return f"http://{LOOPBACK}:{self.port(metrics_port_name(process, index))}/metrics"

    # Secrets.

    def secret(self, name: str) -> Path:
        """The file that holds a secret, whether it exists or not."""
        return self.secrets / name

    def write_secret(self, name: str, text: str) -> Path:
        """Keep a secret in a file that only this user may read; returns the file."""
        path = self.secret(name)
        write_text(path, text + "\n")
        return path

    def password(self, role: str) -> str:
        """The generated password of a PostgreSQL role.

        Raises:
            StackError: this home was never started.
        """
        try:
            return self.secret(f"password-{role}").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise StackError(
                f"The home {self.path} has no password for {role}. Start it: athena up --home {self.path}"
            ) from None

    def database_url(self, process: str, address: str | None = None, database: str = DATABASE) -> str:
        """The PostgreSQL URL, with password or certificate, of a process's role (`owner` and `superuser` too); never log it.

        `address` is host:port where it is not the server's own.
        """
        role = ROLES[process]
        place = address or f"{LOOPBACK}:{self.port('postgres')}"
        files = self.files(process)
        login = role if files else f"{role}:{quote(self.password(role))}"
        return with_tls(f"postgresql://{login}@{place}/{database}", files)

    # What each process is told.

    def environment(self, process: str, index: int = 0) -> dict[str, str]:
        """The `ATHENA_*` variables of `gateway`, `worker`, `projector`, `notifier` or `owner` (who migrates and seeds).

        `index` numbers workers from 0. Secrets are named by file. Add the result to the caller's own environment.

        Raises:
            StackError: this home was never started.
        """
        choices = self.choices()
        values = {
            "ATHENA_HOME": str(self.path),
            "ATHENA_KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "ATHENA_PARTITIONS": str(choices.get("partitions", 4)),
            "ATHENA_REPLICATION_FACTOR": "1",
            "ATHENA_GATEWAY_HOST": LOOPBACK,
            "ATHENA_GATEWAY_PORT": str(self.port("gateway")),
            "ATHENA_DATA_DIR": str(self.data / process_name(process, index)),
            "ATHENA_INSTANCE_ID": process_name(process, index),
            "ATHENA_INSTALLATION": self.installation,
        }
        if self.tls:
            values |= self._certificates_of(process)
        if process in ROLES:
            values["ATHENA_DATABASE_URL_FILE"] = str(self.secret(f"database-url-{process}"))
        if process in TOKEN_HOLDERS:
            values["ATHENA_TOKEN_KEYS_FILE"] = str(self.secret("token-keys.json"))
            values["ATHENA_CURSOR_KEY_FILE"] = str(self.secret("cursor-key"))
        if process in CHECKPOINT_SIGNERS:
            values["ATHENA_CHECKPOINT_KEY_FILE"] = str(self.secret("checkpoint-key.pem"))
        if process == "gateway":
            values["ATHENA_CHECKPOINT_VKEYS_FILE"] = str(self.vkeys_file)
        ports = choices.get("ports", {})
        if metrics_port_name(process, index) in ports:
            values["ATHENA_METRICS_HOST"] = LOOPBACK
            values["ATHENA_METRICS_PORT"] = str(ports[metrics_port_name(process, index)])
        return values

    def _certificates_of(self, process: str) -> dict[str, str]:
        files = self.certificates.files(process)
        values = {"ATHENA_TLS_CA": files.ca, "ATHENA_TLS_CERT": files.cert, "ATHENA_TLS_KEY": files.key}
        if process == "gateway":
            https = self.certificates.files("gateway-https")
            values |= {"ATHENA_GATEWAY_TLS_CERT": https.cert, "ATHENA_GATEWAY_TLS_KEY": https.key}
        return {name: str(path) for name, path in values.items()}


def new_installation() -> str:
    """A name of its own for a new home's checkpoints."""
    return f"athena.local/{secrets.token_hex(4)}"


def process_name(process: str, index: int = 0) -> str:
    """The name of one process in logs, folders and `run.json`: `worker` is the first worker, `worker-1` the second."""
    return f"{process}-{index}" if index else process


def metrics_port_name(process: str, index: int = 0) -> str:
    """Under which name a process's metrics port is kept."""
    return f"metrics-{process_name(process, index)}"
