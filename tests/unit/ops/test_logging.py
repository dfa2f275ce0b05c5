"""A log line is one line, whatever a user put into it, and no secret is in it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, SecretStr

from ops import redaction
from ops.logging import configure, printable
from ops.redaction import LONGEST_TEXT, REDACTED, redact
from ops.settings import Settings

PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v\nVpguoRK9JLsLMREScVpe\n-----END PRIVATE KEY-----"
JWT = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJzYW0ifQ.c2lnbmF0dXJl-_x"
REFRESH = "Zk3rT0pXq8vN1bYc5sLwE7uHfJ2mAaDgKiOeRtQx9Bz"
SETTINGS: dict[str, Any] = {
    "database_url": SecretStr("postgresql://athena_gateway:pa%2Fss-w0rd%21x@db.internal:5432/athena"),
    "redis_url": SecretStr("redis://:another-p4ss@cache.internal:6379/0"),
    "cursor_key": SecretStr("the-cursor-key-is-thirty-two-characters-long"),
    "token_keys": SecretStr(
        json.dumps([{"kty": "OKP", "kid": "1", "d": "cHJpdmF0ZS1wYXJ0LW9mLXRoZS1rZXk", "x": "cHVi"}])
    ),
    "checkpoint_key": SecretStr(PEM),
}
SECRETS = [
    "pa%2Fss-w0rd%21x", "pa/ss-w0rd!x", "another-p4ss", "the-cursor-key-is", "cHJpdmF0ZS1wYXJ0", "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v",
    "VpguoRK9JLsLMREScVpe", "c2lnbmF0dXJl", REFRESH, "hunter2-hunter2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Logging and the known secrets are the process's own: other tests get them back."""
    root = logging.getLogger()
    kept = (root.handlers[:], root.level, sys.excepthook, structlog.get_config(), set(redaction._known))
    yield
    root.handlers[:], sys.excepthook = kept[0], kept[2]
    root.setLevel(kept[1])
    logging.captureWarnings(capture=False)
    structlog.configure(**kept[3])
    redaction._known.clear()
    redaction._known.update(kept[4])


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Logs in each format; the fixture gives a function that returns the lines so far."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    configure(Settings(log_format=request.param, **SETTINGS))
    return lambda: out.getvalue().removesuffix("\n").split("\n")


ATTACKS = [
    "name\n2026-11-22T09:30:00Z [critical] all is lost",
    "name\r\nHTTP/1.1 200 OK",
    "name\x1b[2J\x1b[31mred",
    "name\x00\x07\x08\x7f",
    "name\u2028next\u2029next\x85next\x0bnext\x0cnext",
    "name\u202egnp.exe\u2066",
    '", "level": "critical", "x": "',
    "lone \ud800 surrogate",
]


def keep_from_pytest() -> None:
    """Its own capture would carry a lone surrogate to xdist, which cannot encode it."""
    root = logging.getLogger()
    root.handlers[:] = [each for each in root.handlers if not type(each).__module__.startswith("_pytest")]


@pytest.mark.parametrize("text", ATTACKS, ids=ascii)
def test_no_text_of_a_user_makes_a_line_of_its_own(lines: Any, text: str) -> None:
    """Whoever may choose a name or a path could write what never happened into our logs."""
    keep_from_pytest()
    log = structlog.get_logger("attacked")
    log.warning("a call", path=text, nested={"agent": [text]}, **{text: "as a name"})
    log.warning(text)
    logging.getLogger("a.driver").error("cannot read %s", text)
    found = lines()
    assert len(found) == 3
    for line in found:
        assert line.isprintable()
    if found[0].startswith("{"):
        assert [json.loads(line)["level"] for line in found] == ["warning", "warning", "error"]


def test_an_exception_s_text_cannot_begin_a_line(lines: Any) -> None:
    """A broken record on a stream could write lines into our logs by way of its error."""
    try:
        raise ValueError("bad record\n2026-11-22T09:30:00Z [critical] forged\x1b[2J")
    except ValueError:
        structlog.get_logger("attacked").exception("a record failed")
    found = lines()
    assert all(line.isprintable() for line in found)
    assert not [line for line in found if line.startswith("2026-11-22T09:30:00Z")]
    assert "forged" in "".join(found)


class Body(BaseModel):
    password: int


def raisers() -> Iterator[Any]:
    """What may go wrong with a secret in its text."""
    yield lambda: int("pa/ss-w0rd!x")
    yield lambda: Body.model_validate({"password": "hunter2-hunter2"})
    yield lambda: json.loads(f'{{"refresh_token": "{REFRESH}"')
    yield lambda: (_ for _ in ()).throw(OSError("cannot connect to postgresql://u:hunter2-hunter2@db/athena"))
    yield lambda: (_ for _ in ()).throw(RuntimeError(f"headers were Authorization: Bearer {JWT}"))
    yield lambda: (_ for _ in ()).throw(RuntimeError(PEM))


def test_no_secret_gets_into_a_log(lines: Any) -> None:
    """Whoever may read logs could act as anybody."""
    log = structlog.get_logger("careless")
    stdlib = logging.getLogger("careless.driver")
    for number, raiser in enumerate(raisers()):
        try:
            raiser()
        except Exception as error:
            log.exception("it failed", number=number)
            log.error("it failed", error=str(error), again=error)
            stdlib.error("it failed: %s", error, exc_info=True)
    log.warning("headers", authorization="hunter2-hunter2", headers={"Cookie": "hunter2-hunter2", "X": [JWT, REFRESH]})
    log.warning(f"body {{'password': 'hunter2-hunter2', 'refresh_token': '{REFRESH}'}}")
    log.warning('a body {"password": "hunter2-hunter2"} and ' + json.dumps(json.dumps({"password": "hunter2-hunter2"})))
    log.warning(
        "settings", settings=Settings(**SETTINGS), urls=[value.get_secret_value() for value in SETTINGS.values()]
    )
    log.warning(f"POST /auth/login?password=hunter2-hunter2&token={REFRESH}")
    stdlib.warning("connecting to %s", SETTINGS["redis_url"].get_secret_value())
    text = "\n".join(lines())
    assert not [secret for secret in SECRETS if secret in text]
    assert text.count(REDACTED) > 20


def test_what_is_no_secret_stays(lines: Any) -> None:
    """Nobody could find out from the logs what went wrong."""
    structlog.get_logger("careful").warning(
        "PostgreSQL does not answer",
        error="ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', 5432)",
        request="0f8fad5b-d9cb-469f-a165-7086772895ab",
        digest="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        topic="athena.reference-commands",
        tokens=3,
        password_seconds=1.5,
    )
    text = "\n".join(lines())
    assert REDACTED not in text
    for part in ("Connect call failed", "0f8fad5b", "9f86d081884c7d65", "athena.reference-commands"):
        assert part in text


def test_a_secret_that_comes_later_is_known_too(lines: Any) -> None:
    """A secret that was rotated while the process runs would be logged."""
    redaction.remember("rotated-in-while-running")
    structlog.get_logger("careless").warning("now rotated-in-while-running")
    assert "rotated-in" not in "\n".join(lines())


@pytest.mark.parametrize("apart", [" ", "\n", "\t \n"])
def test_each_of_several_keys_is_known(apart: str) -> None:
    """While cursor keys are changed, either of them could be logged."""
    keys = ["k-one" * 8, "k-two" * 8]
    redaction.remember_settings(Settings(cursor_key=SecretStr(apart.join(keys))))
    for key in keys:
        assert redact(f"cannot verify with {key}.") == f"cannot verify with {REDACTED}."
    redaction.remember_secret("an old and long-winded passphrase")
    assert redact("an old and long-winded text") == "an old and long-winded text"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.internal/athena?user=u&password={}",
        "postgresql://db.internal/athena?password={}&user=u",
        "postgresql://u:other-pass@db.internal/athena?sslpassword={}#x",
        "redis://cache.internal/0?PASSWORD={}",
    ],
)
def test_a_password_in_the_query_of_a_url_is_known(url: str) -> None:
    """PostgreSQL takes its password there too, and a driver's error would show it."""
    redaction.remember_secret(url.format("hunter2%2Fhunter2+x"))
    for text in ("hunter2%2Fhunter2+x", "hunter2/hunter2+x", "hunter2/hunter2 x"):
        assert redact(f"refused: '{text}'") == f"refused: '{REDACTED}'"


def test_a_line_is_bounded() -> None:
    """One bad record could fill the disk, and a long one keep the process busy."""
    assert len(redact("x" * 3_000_000)) < LONGEST_TEXT + 100
    cut = redact("x" * (LONGEST_TEXT - 20) + f" password='{'y' * 5000}'")
    assert "yyyy" not in cut


def test_text_that_people_write_is_readable_on_the_console() -> None:
    """Names in other scripts would be noise."""
    assert printable("Zürich 出張 🚄") == "Zürich 出張 🚄"
    assert printable("a\nb\x1b") == "a\\nb\\x1b"


UNCAUGHT = """
import sys, threading
from pydantic import SecretStr
from ops.logging import configure
from ops.settings import Settings
configure(Settings(database_url=SecretStr("postgresql://u:hunter2-hunter2@db/athena")))
thread = threading.Thread(target=lambda: int("hunter2-hunter2"))
thread.start(); thread.join()
raise RuntimeError("connecting to postgresql://u:hunter2-hunter2@db/athena\\nforged")
"""


def test_uncaught_exceptions_are_logged_like_all_else() -> None:
    """A process that dies would print what it was doing, its connection's password included."""
    done = subprocess.run([sys.executable, "-c", UNCAUGHT], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "hunter2" not in done.stdout + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in found] == ["uncaught exception"] * 2
    assert "RuntimeError" in found[1]["exception"]
