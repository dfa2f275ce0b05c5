"""What became of secrets that were changed, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

RELOADS = Counter(
    "athena_secret_reloads",
    "Secrets whose source had another value: reloaded, refused (no good; the former stays), unreadable (the same)",
    ["name", "result"],
)
STALE = Gauge(
    "athena_secret_stale", "1 while a secret's source holds no good value and the former one is used", ["name"]
)
LOGIN_FALLBACKS = Counter(
    "athena_secret_login_fallbacks", "Logins to PostgreSQL for which the former address or password had to be taken"
)
ALL = (RELOADS, STALE, LOGIN_FALLBACKS)
