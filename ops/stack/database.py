"""The embedded PostgreSQL: its programs, its cluster, its start. Stock durability: fsync, synchronous_commit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil

from ops.stack.child import Spec
from ops.stack.errors import StackError
from ops.stack.folders import given, ours, put
from ops.stack.home import DATABASE, LOOPBACK, ROLES, SUPERUSER, Home
from ops.stack.identity import Identity
from ops.tls.context import CIPHERS
from ops.tls.install import folder_of

# The kernel's limit for the path of a unix socket, less the name that PostgreSQL gives the socket.
LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.65535")
INITDB_TIME_OUT = 90
ORPHANS_TIME_OUT = 10.0
POLL = 0.1


def prepare(home: Home, servers: Path, identity: Identity) -> Spec:
    """Make the cluster on the first start, and say how to start the server.

    Raises:
        StackError: PostgreSQL's server programs are missing, or the cluster cannot be made.
    """
    data, sockets = servers / "postgres", servers / "sockets"
    given(sockets, identity)
    programs = find_programs(data)
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "LC_MESSAGES": "C", "TZ": "UTC"}
    if not (data / "PG_VERSION").exists():
        _initdb(home, programs, servers, identity, environment)
    given(data, identity)
    _clear_lock(data, sockets)
    options: dict[str, str] = {
        "port": str(home.port("postgres")),
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": str(sockets) if len(str(sockets)) <= LONGEST_SOCKET_FOLDER else "",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "jit": "off",
    }
    if home.tls:
        options |= _tls(servers, identity)
    command = [str(programs / "postgres"), "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    # SIGINT is PostgreSQL's fast shutdown; on SIGTERM it would wait for its clients.
    return Spec("postgres", tuple(command), environment, cwd=servers, identity=identity, stop_signal=signal.SIGINT)


def _tls(servers: Path, identity: Identity) -> dict[str, str]:
    """Who shows no certificate of ours gets no further than the handshake, and each only into its own role."""
    folder = folder_of(servers, "postgres")
    ours(folder)
    roles = "".join(f"athena {service} {role}\n" for service, role in ROLES.items())
    put(folder / "pg_ident.conf", roles.encode(), identity)
    lines = [
        f"hostssl {database} {role} {address} cert map=athena\n"
        for database, role in ((DATABASE, "all"), ("all", SUPERUSER))
        for address in ("127.0.0.1/32", "::1/128")
    ]
    put(folder / "pg_hba.conf", "".join(lines).encode(), identity)
    return {
        "ssl": "on",
        "ssl_min_protocol_version": "TLSv1.2",
        "ssl_ciphers": CIPHERS,
        "ssl_ca_file": str(folder / "ca.pem"),
        "ssl_cert_file": str(folder / "postgres.pem"),
        "ssl_key_file": str(folder / "postgres.pem"),
        "hba_file": str(folder / "pg_hba.conf"),
        "ident_file": str(folder / "pg_ident.conf"),
        # The socket has no TLS; nobody needs it.
        "unix_socket_directories": "",
    }


def find_programs(data: Path) -> Path:
    """The folder of `initdb` and `postgres`: `ATHENA_POSTGRES_BIN`, the version that made the cluster, or the newest.

    Raises:
        StackError: there is none.
    """
    folders = [Path(path) for path in [os.environ.get("ATHENA_POSTGRES_BIN")] if path]
    installed = [p for p in Path("/usr/lib/postgresql").glob("*/bin") if p.parent.name.isdigit()]
    installed.sort(key=lambda path: int(path.parent.name), reverse=True)
    if (data / "PG_VERSION").exists():
        version = (data / "PG_VERSION").read_text(encoding="utf-8").strip()
        installed.sort(key=lambda path: path.parent.name != version)
    folders += installed
    if found := shutil.which("postgres"):
        folders.append(Path(found).resolve().parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise StackError("PostgreSQL's server programs (initdb, postgres) are not on this machine. Run: make setup")


def _clear_lock(data: Path, sockets: Path) -> None:
    """Remove the locks of a dead server, which PostgreSQL would take for a living one.

    It does so while the pid exists: a zombie that nobody waits for, or another program after a restart of the machine.
    The server's children may outlive it for a moment; they work in the cluster's folder.

    Raises:
        StackError: something still runs in the folder after 10 s.
    """
    locks = [data / "postmaster.pid", *sockets.glob(".s.PGSQL.*")]
    deadline = time.monotonic() + ORPHANS_TIME_OUT
    while living := [p.pid for p in psutil.process_iter() if _works_in(p, data)]:
        if time.monotonic() > deadline:
            raise StackError(
                f"A PostgreSQL that this stack did not start runs in {data} (pid {living[0]}). Stop it first."
            )
        time.sleep(POLL)
    for lock in locks:
        lock.unlink(missing_ok=True)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return bool(process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _initdb(home: Home, programs: Path, servers: Path, identity: Identity, environment: dict[str, str]) -> None:
    partial = servers / "postgres.partial"
    shutil.rmtree(partial, ignore_errors=True)
    given(partial, identity)
    # The server's user reads the password from a file of its own; it may not read the home's secrets.
    password = servers / "password"
    put(password, f"{home.password(SUPERUSER)}\n".encode(), identity)
    command = [str(programs / "initdb"), "-D", str(partial), "-U", SUPERUSER]
    command += ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--no-locale"]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=servers,
            env=environment,
            timeout=INITDB_TIME_OUT,
            **identity.popen(),
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"initdb took over {INITDB_TIME_OUT} s. Try again: athena up") from error
    finally:
        password.unlink(missing_ok=True)
    if done.returncode != 0:
        raise StackError(f"PostgreSQL's cluster in {servers} cannot be made: {(done.stderr or done.stdout).strip()}")
    partial.rename(servers / "postgres")
