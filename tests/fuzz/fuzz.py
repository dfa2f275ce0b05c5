"""One run of Schemathesis against a stack, as one person or nobody: all checks on, what it found, and how many cases it tried."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.http.describe import API, Endpoint
from gateway.openapi import STORED
from gateway.reference_files.sheets import SHEETS
from gateway.routes.table import ENDPOINTS
from gateway.server.connection import MAX_URL

#: What JSON Schema cannot say: a cursor is signed, a reference must exist, an amount has its currency's decimals, two
#: spellings of one filter must agree, a file has columns, a refresh token lies in the body or in a cookie, a password must be
#: hard to guess, a redirect URI is one of the settings', a rules file is YAML with a meaning. There 422 is a right answer to
#: what fits the document.
UNSAYABLE = frozenset(
    {
        ("POST", f"{API}/requests"),
        ("POST", f"{API}/auth/refresh"),
        ("POST", f"{API}/delegations"),
        ("GET", f"{API}/audit/verify"),
        ("GET", f"{API}/users"),
        ("POST", f"{API}/users"),
        ("PUT", f"{API}/users/{{id}}"),
        *(("POST", f"{API}/{kind}") for kind in ("categories", "reasons", "assignments")),
        ("PUT", f"{API}/reasons/{{id}}"),
        *(("PUT", f"{API}/import/{kind}") for kind in SHEETS),
        ("POST", f"{API}/auth/password"),
        ("POST", f"{API}/auth/password/first"),
        ("POST", f"{API}/auth/oidc/start"),
        ("PUT", f"{API}/rules"),
        ("POST", f"{API}/rules/simulate"),
        ("GET", f"{API}/rules/versions/{{n}}/diff"),
        ("POST", f"{API}/rules/versions/{{n}}/restore"),
    }
)
#: What may be said to a call that does not fit the document: Schemathesis' own list.
REJECTED = ("400", "401", "403", "404", "405", "406", "409", "415", "422", "428", "429", "5xx")
#: A bad item of a batch is rejected by itself, in an answer 200.
BY_ITEM = frozenset({("POST", f"{API}/requests/sync"), ("POST", f"{API}/approvals/sync")})
#: Calls after which the caller's own token is worth nothing: they get a run of their own.
ENDS_THE_SESSION = frozenset({f"{API}/auth/logout"})
#: Answers without an end; `tests/integration/feed/test_events.py` tries its odd calls.
ENDLESS = frozenset({f"{API}/events"})
#: A character of four bytes, percent-encoded.
LONGEST_CHARACTER = 12
SECONDS = 1200
HOOKS = Path(__file__).with_name("hooks.py")


@dataclass(frozen=True)
class Fuzzed:
    """`cases` were tried; `ok`: no check failed. `text` is what Schemathesis printed."""

    cases: int
    ok: bool
    text: str


def run(
    base: str, token: str | None, ids: Mapping[str, Sequence[str]], *, examples: int, seed: int, only: str | None = None
) -> Fuzzed:
    """Fuzz every endpoint (or that path `only`), `examples` times and with all of the document's edge cases.

    `ids`: real ids by the path up to them (`/requests/`), which are mixed with made-up ones.
    """
    with tempfile.TemporaryDirectory(prefix="athena-fuzz-") as name:
        folder = Path(name)
        config = folder / "schemathesis.toml"
        config.write_text("\n".join(_config(ids)), encoding="utf-8")
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "--no-color", "--config-file", str(config), "run", str(STORED),
            "--url", base, "--checks", "all", "--max-examples", str(examples), "--seed", str(seed), "--request-timeout", "40",
            "--continue-on-failure", "--warnings", "off",
        ]  # fmt: skip
        if authority := os.environ.get("SSL_CERT_FILE"):  # it looks at its own list only
            command += ["--tls-verify", authority]
        if token is not None:
            command += ["--header", f"Authorization: Bearer {token}"]
        for path in [only] if only else []:
            command += ["--include-path", path]
        for path in (ENDS_THE_SESSION - {only} if token else set()) | ENDLESS:
            command += ["--exclude-path", path]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=folder,
            env=os.environ | {"NO_COLOR": "1"},
        )
    return Fuzzed(_cases(done.stdout), done.returncode == 0, done.stdout + done.stderr)


def _cases(text: str) -> int:
    for line in text.splitlines():
        if " generated" in line:
            return int(line.split()[0])
    return 0


def _config(ids: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield f"hooks = {json.dumps(str(HOOKS))}"
    yield "cache.enabled = false"
    for name, values in ids.items():
        yield f"[dictionaries.{_word(name)}]"
        yield f"values = {json.dumps(list(values))}"
    for endpoint in ENDPOINTS:
        yield from _operation(endpoint, ids)


def _operation(endpoint: Endpoint, ids: Mapping[str, Sequence[str]]) -> Iterator[str]:
    lines: list[str] = []
    for known in ids:
        place = re.match(re.escape(API + known) + r"{(\w+)}", endpoint.path)
        if place is not None:
            lines.append(f'parameters."path.{place[1]}" = {{ dictionary = "{_word(known)}", probability = 0.7 }}')
    queries = {query.name for query in endpoint.query}
    rejected = list(REJECTED)
    accepted = ["2xx", "401", "403", "404", "409", "429"]
    if "cursor" in queries or (endpoint.method, endpoint.path) in UNSAYABLE:
        accepted.append("422")
    if any(query.schema.get("maxLength", 0) > MAX_URL // LONGEST_CHARACTER for query in endpoint.query):
        # A cursor fits, a text of as many characters may be too long for an address.
        accepted.append("414")
        rejected.append("414")
    if (endpoint.method, endpoint.path) in BY_ITEM:
        rejected += ["200", "4xx"]
    if endpoint.if_match is not None:
        # A made-up version is rightly stale, or no tag at all.
        accepted += ["400", "412"]
    if "min_version" in queries:
        # The contract wants it: a version that the read side has not got to within 2 s.
        lines.append('checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]')
        accepted.append("503")
    if endpoint.if_match:
        lines.append(
            'checks.missing_required_header.expected-statuses = ["400", "401", "403", "404", "415", "422", "428"]'
        )
        rejected.append("412")
    if endpoint.yaml_body:
        # Every text is one, so none can be of a wrong type: what it means is another question.
        rejected.append("200")
    lines.append(f"checks.negative_data_rejection.expected-statuses = {json.dumps(rejected)}")
    lines.append(f"checks.positive_data_acceptance.expected-statuses = {json.dumps(accepted)}")
    yield "[[operations]]"
    yield f'include-name = "{endpoint.method} {endpoint.path}"'
    yield from lines


def _word(path: str) -> str:
    return path.strip("/").replace("/", "-")
