"""All secrets of one process, and the one task that watches them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from pydantic import SecretStr

from ops.redaction import remember_secret
from ops.secrets.secret import BadSecret, Check, Secret
from ops.secrets.sources import source_of
from ops.settings import PREFIX, Settings
from ops.stack.errors import WrongSettings


class Secrets:
    """Takes secrets from the settings, together with where they are kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._taken: dict[str, Secret] = {}

    def take(self, name: str, check: Check | None = None, *, least: int = 1) -> Secret:
        """The secret of that setting, at least `least` characters; `check` as in `Secret`. The process does not start without it.

        Raises:
            SystemExit: it is missing or no good; the sentence names the variable.
        """
        value = getattr(self._settings, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        variable = f"{PREFIX}{name.upper()}"

        def checked(text: str) -> None:
            if isinstance(value, SecretStr):
                remember_secret(text)
            if len(text) < least:
                raise BadSecret(f"it (or {variable}_FILE or {variable}_AWS) must be set, at least {least} characters")
            if check is not None:
                check(text)

        try:
            checked(text)
        except BadSecret as error:
            raise WrongSettings(f"{variable}: {error}.") from None
        secret = Secret(name, text, source_of(variable, self._settings.aws_secrets_seconds), checked)
        self._taken[name] = secret
        return secret

    async def watch(self) -> None:
        """Look at every source as often as it wants, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for every in {secret.every for secret in self._taken.values()}:
                if every is not None:
                    secrets = [secret for secret in self._taken.values() if secret.every == every]
                    group.create_task(watch(secrets, every), name=f"watch secrets every {every:g} s")


async def watch(secrets: Sequence[Secret], every: float) -> None:
    """Look at these as often, until cancelled: on one thread at all, and closely at those that may have changed."""
    while True:
        await asyncio.sleep(every * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load
        changed = await asyncio.to_thread(lambda: [secret for secret in secrets if secret.may_differ()])
        await asyncio.gather(*(secret.look() for secret in changed))
