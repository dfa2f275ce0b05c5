"""`athena up`: starts the servers and Athena's processes in order, keeps them running, stops them in reverse order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.stack import broker, credentials, database, ports, via
from ops.stack.child import Child, Spec
from ops.stack.errors import Misuse, StackError
from ops.stack.home import Home, metrics_port_name, new_installation, process_name
from ops.stack.identity import Identity, identities
from ops.stack.places import place_servers
from ops.stack.probes import gauge_of, status_of
from ops.stack.processes import Process
from ops.stack.renewal import renew_daily
from ops.stack.state import State, locked, stop_children
from ops.tls.install import install

READY_TIME_OUT = 120.0
SEED_TIME_OUT = 90.0
# A process that dies this often before the stack was ready stops the start.
DEATHS_ALLOWED = 4
POLL = 0.05
EMBEDDED_PARTITIONS = 4
APPLICATION = ("worker", "projector", "gateway")
MOST_WORKERS = 16


@dataclass(frozen=True)
class Options:
    """What `up` was asked for; None keeps what the home has."""

    port: int | None = None
    workers: int | None = None
    seed: bool = True
    #: Kept in the home; False keeps what it has.
    tls: bool = False


class Supervisor:
    """One run of one home's stack; `say` gets a sentence for each step."""

    def __init__(self, home: Home, options: Options, say: Callable[[str], None]) -> None:
        self.home = home
        self.options = options
        self.say = say
        self.state = State(supervisor=Process.of(os.getpid()))
        self.children: dict[str, Child] = {}

    async def run(self, ready: Callable[[], None]) -> int:
        """Start everything, call `ready`, and watch until SIGTERM or SIGINT; returns the exit code.

        Raises:
            StackError: the start failed; all that had been started is stopped again.
        """
        stop_asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop_asked.set)
        starting = asyncio.create_task(self._start())
        waiting = asyncio.create_task(stop_asked.wait())
        try:
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                self._enter("ready")
                ready()
                renewing = asyncio.create_task(renew_daily(self.home, self.say), name="renew certificates")
                await waiting
                renewing.cancel()
            return 0
        except StackError as error:
            self.state.error = str(error)
            raise
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            self._enter("stopping")
            await self._stop()
            self._enter("failed" if self.state.error else "stopped")

    async def _start(self) -> None:
        deadline = time.monotonic() + READY_TIME_OUT
        count = stop_children(self.home)
        self.state.write(self.home)
        if count:
            self._step(f"stopped {count} processes that a former run had left")
        specs = self._choose()
        users = identities()
        servers, notice = place_servers(self.home, users.values())
        if notice:
            self._step(notice)
        credentials.create_missing(self.home)
        if self.home.tls:
            self._renew()
            install(self.home.certificates, servers, users)
        credentials.write_database_urls(self.home)
        began = time.monotonic()
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + READY_TIME_OUT):
            await _all(
                self._serve(broker.prepare, servers, users["kafka"]),
                self._serve(database.prepare, servers, users["postgres"]),
                self._once("prepare", "ops.stack.prepare", "owner", READY_TIME_OUT),
            )
        self._step(f"kafka and postgres are up, topics and tables are there ({time.monotonic() - began:.1f} s)")
        began = time.monotonic()
        await _all(*(self._launch(spec) for spec in specs))
        await self._until_ready(deadline)
        self._step(f"{', '.join(spec.name for spec in specs)} are up ({time.monotonic() - began:.1f} s)")
        if self.options.seed and not self.home.choices().get("seeded"):
            began = time.monotonic()
            await self._once("seed", "ops.seed", "owner", SEED_TIME_OUT)
            self.home.choose(seeded=True)
            self._step(f"the demo organisation is in ({time.monotonic() - began:.1f} s)")

    def _renew(self) -> None:
        try:
            renewed = self.home.certificates.renew_ending()
        except Misuse:
            raise
        except StackError as error:
            ends = self.home.certificates.ends_soonest()
            if ends is None or ends["days_left"] <= 0:
                raise
            self._step(f"certificates should be made anew, and cannot be: {error}")
        else:
            if renewed:
                self._step(f"certificates were made anew: {', '.join(renewed)}")

    def _choose(self) -> list[Spec]:
        """Settle ports and numbers; returns Athena's own processes in the order of their start."""
        choices = self.home.choices()
        workers = self.options.workers or _workers_wanted() or int(choices.get("workers", 1))
        partitions = choices.get("partitions") or int(os.environ.get("ATHENA_PARTITIONS", EMBEDDED_PARTITIONS))
        installation = choices.get("installation") or os.environ.get("ATHENA_INSTALLATION") or new_installation()
        tls = self.options.tls or self.home.tls
        self.home.choose(workers=workers, partitions=partitions, installation=installation, tls=tls)
        numbered = [(name, index) for name in APPLICATION for index in range(workers if name == "worker" else 1)]
        names = ["gateway", "kafka", "kafka-controller", "postgres", *map(via.port_name, via.ways(via.KAFKA))]
        for notice in ports.assign(
            self.home, [*names, *(metrics_port_name(*one) for one in numbered)], self.options.port
        ):
            self._step(notice)
        return [self._application(name, index) for name, index in numbered]

    def _application(self, process: str, index: int) -> Spec:
        folder = self.home.data / process_name(process, index)
        folder.mkdir(exist_ok=True)
        return Spec(
            process_name(process, index),
            (sys.executable, "-m", "ops.cli", process),
            self._environment(process, index),
            # Also how a later run recognises it, see `state.stop_children`.
            cwd=folder,
            identity=Identity("self"),
        )

    def _environment(self, process: str, index: int = 0) -> dict[str, str]:
        found = os.environ | {"PYTHONUNBUFFERED": "1"} | self.home.environment(process, index)
        way = via.ways(via.KAFKA).get(process_name(process, index))
        return found if way is None else found | {"ATHENA_KAFKA_BOOTSTRAP": way}

    async def _serve(self, prepare: Callable[[Home, Path, Identity], Spec], servers: Path, identity: Identity) -> None:
        await self._launch(await asyncio.to_thread(prepare, self.home, servers, identity))

    async def _launch(self, spec: Spec) -> None:
        child = Child(spec, self.home.logs / f"{spec.name}.log", self._changed)
        self.children[spec.name] = child
        try:
            await child.start()
        except OSError as error:
            raise StackError(f"{spec.name} cannot be started: {error}. Run: make setup") from error

    async def _once(self, name: str, module: str, process: str, seconds: float) -> None:
        """Run a module that ends by itself, with a process's environment; its output goes to the logs."""
        log = self.home.logs / f"{name}.log"
        with log.open("wb") as out:
            running = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.home.path,
                env=self._environment(process),
                start_new_session=True,
            )
        deadline = time.monotonic() + seconds
        waiting = asyncio.create_task(running.wait())
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=POLL)
                self._check_deaths()
                if time.monotonic() > deadline:
                    raise StackError(f"{name} took over {seconds:.0f} s. {_tail(log)}")
        finally:
            if running.returncode is None:
                running.kill()
            await waiting
        if running.returncode != 0:
            raise StackError(f"{name} failed (exit code {running.returncode}). {_tail(log)}")

    async def _until_ready(self, deadline: float) -> None:
        while waits_for := await asyncio.to_thread(self._not_ready):
            self._check_deaths()
            if time.monotonic() > deadline:
                log = self.home.logs / f"{waits_for}.log"
                raise StackError(f"{waits_for} was not ready within {READY_TIME_OUT:.0f} s. {_tail(log)}")
            await asyncio.sleep(POLL)

    def _not_ready(self) -> str | None:
        """The first of our processes that does not work yet, None when all do."""
        if status_of(f"{self.home.gateway}/readyz", trust=self.home.trust) != 200:
            return "gateway"
        for name, child in self.children.items():
            process = name.partition("-")[0]
            if process in ("worker", "projector"):
                port = child.spec.environment["ATHENA_METRICS_PORT"]
                if gauge_of(f"http://127.0.0.1:{port}/metrics", f"athena_{process}_ready") != 1:
                    return name
        return None

    def _check_deaths(self) -> None:
        for name, child in self.children.items():
            if child.deaths >= DEATHS_ALLOWED:
                raise StackError(f"{name} ended {child.deaths} times (exit code {child.last_code}). {_tail(child.log)}")

    async def _stop(self) -> None:
        groups: Sequence[Sequence[str]] = (
            ("gateway",),
            tuple(name for name in self.children if name not in ("gateway", "kafka", "postgres")),
            ("postgres", "kafka"),
        )
        for group in groups:
            stops = [self.children[name].stop() for name in group if name in self.children]
            await asyncio.gather(*stops, return_exceptions=True)
        self.home.endpoints_file.unlink(missing_ok=True)

    def _changed(self) -> None:
        processes = {name: child.process for name, child in self.children.items()}
        self.state.children = {name: process for name, process in processes.items() if process is not None}
        self.state.restarts = {name: child.deaths for name, child in self.children.items() if child.deaths}
        self.state.write(self.home)
        if self.state.state == "ready":
            self._write_endpoints()

    def _write_endpoints(self) -> None:
        pids: dict[str, Any] = {}
        for name in ("kafka", "postgres", *reversed(APPLICATION)):
            # Between two lives the last pid stays: the entry never goes away.
            pids[name] = self.children[name].last_pid
        workers = [name for name in self.children if name.startswith("worker")]
        if len(workers) > 1:
            pids["workers"] = [self.children[name].last_pid for name in workers]
        self.home.write_endpoints(
            {
                "gateway": self.home.gateway,
                "kafka": self.home.kafka.bootstrap,
                "postgres": self.home.database_url("superuser"),
                "metrics": {name: self.home.metrics(name) for name in reversed(APPLICATION)},
                "pids": pids,
            }
        )

    def _enter(self, state: str) -> None:
        self.state.state = state
        if state == "ready":
            # Before anybody can read that it is ready: they go on to read this.
            self._write_endpoints()
        self.state.write(self.home)

    def _step(self, text: str) -> None:
        self.state.steps.append(text)
        self.state.write(self.home)
        self.say(text)


def run_supervisor(home: Home, options: Options, say: Callable[[str], None], ready: Callable[[], None]) -> int | None:
    """Supervise the home until asked to stop; None when another supervisor holds it already.

    Raises:
        StackError: the start failed.
    """
    home.create()
    with locked(home) as mine:
        if not mine:
            return None
        return asyncio.run(Supervisor(home, options, say).run(ready))


def _workers_wanted() -> int | None:
    """`ATHENA_WORKERS`, None where it is not set."""
    text = os.environ.get("ATHENA_WORKERS")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise StackError(f"ATHENA_WORKERS: {text!r} is not a number from 1 to {MOST_WORKERS}.")
    return int(text)


async def _all(*tasks: Coroutine[Any, Any, None]) -> None:
    """Run together; the first failure ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
    except* StackError as errors:
        raise errors.exceptions[0] from None


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    except OSError:
        lines = []
    return f"The log {log} ends:\n" + "\n".join(lines) if lines else f"The log {log} is empty."
