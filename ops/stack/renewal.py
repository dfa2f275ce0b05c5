"""While a stack runs, its certificates are made anew before they end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ops.stack.home import Home

#: A certificate has weeks left when it is made anew, so a day that fails is not the last one.
EVERY_SECONDS = 24 * 3600.0
TIME_OUT = 300.0


async def renew_daily(home: Home, say: Callable[[str], None]) -> None:
    """Run `athena certs renew` once a day, in a process of its own, so that this one stays small. Ends when cancelled."""
    log = home.logs / "certs.log"
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        if not home.tls:
            continue
        try:
            code = await _renew(home, log)
        except OSError as error:  # a full disk, say: tomorrow is another day
            say(f"the certificates were not looked after today: {error}")
            continue
        if code != 0:
            say(f"the certificates were not looked after today ({code=}): read {log}")


async def _renew(home: Home, log: Path) -> int | None:
    """Its exit code; None when it took too long. Raises OSError when it cannot be started."""
    with log.open("wb") as out:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", "certs", "renew", "--home", str(home.path)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=home.path,
            env=os.environ,
        )
    try:
        async with asyncio.timeout(TIME_OUT):
            return await running.wait()
    except TimeoutError:
        return None
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
