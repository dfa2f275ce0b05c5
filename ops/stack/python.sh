# Which Python `.venv` is made with; sourced by setup.sh.

PYTHON_FOUND=
find_python() { # sets PYTHON_FOUND to one with which .venv can be made
  local name path cost best chosen needs
  [ -z "$PYTHON_FOUND" ] || return 0
  if [ -z "${PYTHON:-}" ] && python_fits "$(cat .venv/.python 2>/dev/null)"; then return 0; fi
  # Builds of one version differ by a third in speed: without profile-guided optimisation, as pyenv makes them, and with it, as
  # Debian's are (ADR 28). Of the first version that is there, the fastest, and first among those with headers: durable_rules is
  # compiled. It stays the one of .venv.
  for needs in headers nothing; do
    for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
      best=
      while read -r path; do
        python_fits "$path" "$needs" || continue
        cost=$(python_cost "$path") || continue
        if [ -z "$best" ] || [ $((cost * 10)) -lt $((best * 9)) ]; then best=$cost; chosen=$PYTHON_FOUND; fi
      done < <(type -aP "$name" | awk '!seen[$0]++')
      if [ -n "$best" ]; then PYTHON_FOUND=$chosen; return 0; fi
    done
  done
  PYTHON_FOUND=
  return 1
}

python_fits() { # python_fits PATH [headers]: whether .venv can be made with it; sets PYTHON_FOUND
  PYTHON_FOUND=$("$1" - "${2:-nothing}" 2>/dev/null <<'EOF'
import ensurepip, pathlib, sys, sysconfig, venv
if sys.version_info >= (3, 11) and (sys.argv[1] == "nothing" or (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists()):
    print(sys.executable)
EOF
  ) && [ -n "$PYTHON_FOUND" ]
}

python_cost() { # python_cost PATH: microseconds of CPU for a fixed work, the least of five
  "$1" -I -c '
import time
class Point:
    def __init__(self, x): self.x = x
    def moved(self, by): return Point(self.x + by)
def work():
    found = {}
    for number in range(10_000):
        found[str(number)] = [one for one in (number, Point(number).moved(1).x) if one > 1]
def timed():
    began = time.process_time()
    work()
    return time.process_time() - began
print(round(min(timed() for _ in range(5)) * 1e6))'
}
