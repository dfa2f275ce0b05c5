"""The gateway's figures for Prometheus, under `athena_gateway_`."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

COMMANDS = Counter("athena_gateway_commands", "Commands by kind and outcome", ["kind", "outcome"])
REQUESTS = Histogram(
    "athena_gateway_request_seconds",
    "Time from the call's head to its answer",
    ["route", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
WAITERS = Gauge("athena_gateway_waiters", "POSTs that wait for an outcome")
WORKER_LAG = Gauge(
    "athena_gateway_worker_lag_records", "Commands not yet decided, as this gateway sees it; NaN: unknown"
)
SHEDDING = Gauge("athena_gateway_shedding", "1 while new submissions are answered 503 because the workers lag")
SUBMISSIONS_SHED = Counter("athena_gateway_submissions_shed", "Submissions answered 503 because the workers lag")
UNWAITED = Counter("athena_gateway_unwaited", "Commands answered 202 at once because too many POSTs wait already")
SYNC_ITEMS = Counter("athena_gateway_sync_items", "Items of sync batches by result", ["result"])
SQL_CONNECTIONS = Gauge("athena_gateway_sql_connections", "Connections to PostgreSQL", ["state"])
SQL_FAILURES = Counter("athena_gateway_sql_failures", "Statements that PostgreSQL did not answer")
PRODUCER_RENEWALS = Counter("athena_gateway_producer_renewals", "New Kafka producers after a fatal error")
SIGN_INS = Counter("athena_gateway_sign_ins", "Sign-ins by result", ["result"])
PROVIDER_FAILURES = Counter(
    "athena_gateway_provider_failures", "Sign-ins with the outside provider that came to nothing, by reason", ["why"]
)
RATE_LIMITED = Counter("athena_gateway_rate_limited", "Calls refused by a rate limit", ["scope"])
SHARED_LIMITS = Gauge(
    "athena_gateway_shared_limits", "1 while rate limits are shared by way of Redis, 0 while they are not"
)
SHARED_LIMITS_FAILURES = Counter("athena_gateway_shared_limits_failures", "Questions that Redis did not answer in time")
CONNECTIONS = Gauge("athena_gateway_connections", "Connections of clients")
CONNECTIONS_REFUSED = Counter(
    "athena_gateway_connections_refused", "Connections ended below the API, by reason", ["reason"]
)
EVENT_CLIENTS = Gauge("athena_gateway_event_clients", "Clients of /events")
EVENT_CLIENTS_ENDED = Counter(
    "athena_gateway_event_clients_ended", "Clients of /events that were ended, by reason", ["reason"]
)
EVENTS = Counter("athena_gateway_events", "Events given to clients of /events")
EVENT_DELAY = Histogram(
    "athena_gateway_event_delay_seconds",
    "Age of a change when it was given to the clients of /events",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
FEED_FAILURES = Counter("athena_gateway_feed_failures", "Times that changes could not be read for /events")
SECURITY_EVENTS_LOST = Counter("athena_gateway_security_events_lost", "Security events that Kafka did not take")

_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})


@lru_cache(maxsize=1000)
def _request(route: str, method: str, status: int) -> Histogram:
    return REQUESTS.labels(route, method if method in _METHODS else "other", str(status))


@lru_cache(maxsize=1000)
def _command(kind: str, outcome: str) -> Counter:
    return COMMANDS.labels(kind, outcome)


def observe_request(route: str, method: str, status: int, seconds: float) -> None:
    """Count one answered call; `route` is the template, never the path."""
    _request(route, method, status).observe(seconds)


def count_command(kind: str, outcome: str) -> None:
    """Count one command: `accepted`, `refused`, `failed`, `pending` or `unavailable`."""
    _command(kind, outcome).inc()
