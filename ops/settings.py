"""The one settings model: environment variables `ATHENA_*`; `ATHENA_<NAME>_FILE` or `_AWS` says where a value is kept instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ops.kafka_clients import Kafka
from ops.postgres.clients import with_tls
from ops.secrets.sources import source_of
from ops.secrets.unreadable import Unreadable
from ops.stack.errors import Misuse, WrongSettings
from ops.tls.context import Files

PREFIX = "ATHENA_"
# With one or more hosts. Drivers read an unescaped character of a password as the end of it, and show the rest in their errors.
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[^/?#@:,\[\]\s]*)(:[0-9]{1,5})?"
_DATABASE_URL = re.compile(rf"postgres(ql)?://([^/?#@\s]*@)?{_HOST}(,{_HOST})*([/?]\S*)?")
Rate = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(BaseSettings):
    """Every process reads the same model and uses its part of it. Times are seconds, sizes bytes, unless named otherwise."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port[,host:port] of the Kafka brokers")
    partitions: Annotated[int, Field(ge=1, le=1000)] = Field(
        12, description="partitions of every keyed topic; set once"
    )
    replication_factor: Annotated[int, Field(ge=1, le=5)] = Field(
        3, description="replicas of every topic; min.insync.replicas is one less, at least 1"
    )
    database_url: SecretStr = Field(
        SecretStr("postgresql://127.0.0.1:5432/athena"), description="PostgreSQL, with this process's own role"
    )
    tls_ca: Path | None = Field(
        None, description="file (PEM) of the authorities that Kafka and PostgreSQL are believed by; none: plain lines"
    )
    tls_cert: Path | None = Field(
        None, description="file (PEM) of the certificate chain that this process shows to Kafka and PostgreSQL"
    )
    tls_key: Path | None = Field(None, description="file (PEM) of its private key; may be the same file")
    data_dir: Path = Field(
        Path(".athena/data"),
        description="folder of this process's local table store and last checkpoints; one per process",
    )
    instance_id: str = Field(
        "",
        pattern="^[A-Za-z0-9._-]{0,100}$",
        description="worker: its name in the group, unique and kept over restarts",
    )
    metrics_host: str = Field("127.0.0.1", description="address of the Prometheus endpoint")
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(9100, description="port of the Prometheus endpoint")
    gateway_host: str = Field("127.0.0.1", description="address the gateway listens on")
    gateway_port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="port the gateway listens on")
    public_url: str = Field(
        "",
        description="gateway: the address that clients call, such as https://budget.example.com; none: the one it listens on",
    )
    gateway_tls_cert: Path | None = Field(
        None, description="gateway: file (PEM) of the certificate chain that it serves HTTPS with; none: HTTP"
    )
    gateway_tls_key: Path | None = Field(
        None, description="gateway: file (PEM) of its private key; may be the same file"
    )
    token_keys: SecretStr = Field(
        SecretStr(""),
        description="gateway: JSON list of Ed25519 private JWKs with kid; the first one signs whose time has come",
    )
    cursor_key: SecretStr = Field(
        SecretStr(""),
        description="gateway: secret that signs list cursors, at least 32 characters; of several, split at blanks, the first signs",
    )
    installation: str = Field(
        "athena.local",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,99}$",
        description="name of this installation in its checkpoints; set once",
    )
    checkpoint_key: SecretStr = Field(
        SecretStr(""), description="projector: Ed25519 private key in PEM that signs the checkpoints of the audit log"
    )
    checkpoint_vkeys: str = Field(
        "",
        description="gateway: verifier keys, one a line, that `GET /audit/verify` trusts; none: checkpoints are not looked at",
    )
    checkpoint_records: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1000, description="projector: audit records of a partition after which it signs a checkpoint"
    )
    checkpoint_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        10.0, description="projector: the longest an audit record waits for a checkpoint"
    )
    aws_secrets_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        60.0, description="how often a secret in AWS Secrets Manager is looked at, give or take a tenth"
    )
    token_issuer: str = Field("https://athena-budget.dev", description="iss of access tokens")
    token_audience: str = Field("athena-api", description="aud of access tokens")
    oidc_issuer: str = Field(
        "",
        description="gateway: issuer of the outside OpenID Connect provider; none: people sign in with passwords alone",
    )
    oidc_client_id: str = Field("", max_length=255, description="gateway: our client id at that provider")
    oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="gateway: our client secret at that provider; none for a public client"
    )
    oidc_redirect_uri: str = Field(
        "", description="gateway: where that provider may send people back to, word for word; several split at blanks"
    )
    oidc_scopes: str = Field("openid email", description="gateway: scopes that are asked of that provider")
    oidc_email_domains: str = Field(
        "",
        description="gateway: domains of e-mail addresses that may sign in by that provider; none: all that have accounts",
    )
    command_wait: Annotated[float, Field(ge=0, le=60)] = Field(
        10.0, description="how long a POST waits for its outcome"
    )
    backpressure_lag: Annotated[int, Field(ge=1)] = Field(
        5000, description="gateway: new submissions are answered 503 while more commands than this wait for the workers"
    )
    sync_horizon_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        90, description="gateway, projector: a device that was away for longer begins anew (410)"
    )
    event_clients: Annotated[int, Field(ge=0, le=100_000)] = Field(
        5000, description="gateway: clients of `/events` at a time, which are connections too; more are answered 503"
    )
    event_clients_per_user: Annotated[int, Field(ge=1, le=100_000)] = Field(
        10, description="gateway: clients of `/events` at a time of one user; more are answered 429"
    )
    rate_limits: str = Field("on", pattern="^(on|off)$", description="off only for load tests on one's own machine")
    rate_user: Rate = Field(100, description="gateway: calls a second of one user")
    rate_user_burst: Rate = Field(300, description="gateway: calls at once of one user; a whole multiple of the rate")
    rate_address: Rate = Field(300, description="gateway: calls a second from one address (IPv6: one /64 network)")
    rate_address_burst: Rate = Field(900, description="gateway: calls at once from one address")
    rate_sign_in: Rate = Field(
        20,
        description="gateway: password sign-ins a second from one address; devices known by cookie or DPoP key do not count",
    )
    rate_sign_in_burst: Rate = Field(100, description="gateway: password sign-ins at once from one address")
    rate_device: Rate = Field(
        2,
        description="gateway: sign-ins a second of one account's devices with a cookie, where their address has used up its calls",
    )
    rate_device_burst: Rate = Field(
        10,
        description="gateway: such sign-ins at once; of all accounts at that address as many as `ATHENA_RATE_SIGN_IN` says",
    )
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="gateway: `redis[s]://…` where gateways share these rates; none: each process counts alone",
    )
    redis_seconds: Annotated[float, Field(gt=0, le=5)] = Field(
        0.05, description="gateway: how long a call waits for Redis; after that each process counts alone for a moment"
    )
    trusted_proxies: str = Field(
        "", description="gateway: addresses and networks (CIDR) of proxies whose word on the client's address counts"
    )
    proxy_header: str = Field(
        "x-forwarded-for",
        pattern="^(x-forwarded-for|forwarded)$",
        description="gateway: the one header those proxies write, `x-forwarded-for` or `forwarded` (RFC 7239)",
    )
    cors_origins: str = Field(
        "",
        description="gateway: exact origins, split at blanks, whose pages may call the API; none: no other site may",
    )
    connections: Annotated[int, Field(ge=10, le=100_000)] = Field(
        10_000, description="gateway: connections at a time; more are answered 503"
    )
    connections_per_address: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1000, description="gateway: connections at a time from one address, proxies excepted; more are answered 429"
    )
    head_seconds: Seconds = Field(10.0, description="gateway: how long the head of a call may take to arrive")
    body_seconds: Seconds = Field(30.0, description="gateway: how long a body may take to arrive")
    idle_seconds: Seconds = Field(30.0, description="gateway: how long a connection may stay open without a call")
    answer_seconds: Seconds = Field(
        30.0, description="gateway: how long a client may take to read an answer, and 1 s more for each 8 KiB"
    )
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least severe line that is logged"
    )
    log_format: str = Field("json", pattern="^(json|console)$", description="json for machines, console for people")

    @field_validator("database_url")
    @classmethod
    def _is_readable(cls, value: SecretStr) -> SecretStr:
        if not _DATABASE_URL.fullmatch(value.get_secret_value()):
            raise ValueError(
                "this is no URL of PostgreSQL; write postgresql://user:password@host:port/name, and in the password %40 for @, "
                "%3A for :, %2F for /"
            )
        return value

    @property
    def tls(self) -> Files | None:
        """What this process shows to Kafka and PostgreSQL, and whom it believes; None: plain lines."""
        if self.tls_ca is None or self.tls_cert is None or self.tls_key is None:
            return None
        return Files(self.tls_ca, self.tls_cert, self.tls_key)

    @property
    def kafka(self) -> Kafka:
        """The cluster as this process reaches it."""
        return Kafka(self.kafka_bootstrap, self.tls)

    @property
    def dsn(self) -> str:
        """PostgreSQL's URL, with password or certificate: never log it."""
        return with_tls(self.database_url.get_secret_value(), self.tls)

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        """Half a pair would be a plain line that somebody believes to be protected."""
        if len({self.tls_ca is None, self.tls_cert is None, self.tls_key is None}) > 1:
            raise ValueError("set all of ATHENA_TLS_CA, ATHENA_TLS_CERT, ATHENA_TLS_KEY, or none")
        if (self.gateway_tls_cert is None) != (self.gateway_tls_key is None):
            raise ValueError("set both of ATHENA_GATEWAY_TLS_CERT, ATHENA_GATEWAY_TLS_KEY, or none")
        try:
            with_tls(self.database_url.get_secret_value(), self.tls)
        except Misuse as error:
            raise ValueError(str(error)) from None
        return self


def load_settings() -> Settings:
    """Read the settings; what is kept in a file or in AWS Secrets Manager wins over the environment.

    Raises:
        WrongSettings: one sentence for each variable that is wrong.
    """
    kept: dict[str, str] = {}
    for name in Settings.model_fields:
        try:
            source = source_of(PREFIX + name.upper())
            text = None if source is None else source.read()
        except Unreadable as error:
            raise WrongSettings(str(error)) from error
        if text is not None:
            kept[name] = text
    try:
        return Settings(**kept)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [
            f"{PREFIX}{'_'.join(str(part) for part in e['loc']).upper() or '*'}: {e['msg']}" for e in error.errors()
        ]
        raise WrongSettings("Wrong settings. " + "; ".join(lines)) from None
