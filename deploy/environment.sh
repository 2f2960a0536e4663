# Sourced by the scripts of this folder: where downloads are kept, and how they speak.

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
requirements="$repository/deploy/requirements"
export WARDTUNE_CACHE_DIR="${WARDTUNE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/wardtune}"
mkdir -p "$WARDTUNE_CACHE_DIR"

say() { printf '== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Debian's interpreter: the locked wheels are built for it, and a version manager's
# python3 earlier in PATH may be another one.
python=/usr/bin/python3

# One process at a time may fill the cache; a second waits and then finds the work done.
lock_cache() {
  exec 9>"$WARDTUNE_CACHE_DIR/lock"
  flock 9
}

check_python() {
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    die "$python is not Python 3.11, for which the wheels are locked (Debian 12 ships it)"
}

# ensure_venv NAME LOCK_FILE: a virtual environment in the cache that holds exactly the hashed
# packages of the lock file. The stamp is written last, so an interrupted set-up is started again.
# uv installs, as it needs a fraction of pip's time for the large ones; pip fetches uv.
ensure_venv() {
  local name=$1 lock_file=$2 venv="$WARDTUNE_CACHE_DIR/$1" stamp
  stamp="$(sha256sum <"$lock_file")"
  if [[ -f "$venv/stamp" && "$(cat "$venv/stamp")" == "$stamp" ]]; then
    return
  fi
  check_python
  rm -rf "$venv"
  "$python" -m venv "$venv"
  if [[ "$name" == uv-venv ]]; then
    "$venv/bin/pip" install --quiet --no-input --disable-pip-version-check --no-deps \
      --require-hashes -r "$lock_file"
  else
    ensure_venv uv-venv "$requirements/uv.txt"
    say "Setting up the Python environment $name"
    # Certificates of the system, as pip's own configuration may name them.
    "$WARDTUNE_CACHE_DIR/uv-venv/bin/uv" pip install --quiet --native-tls --no-deps \
      --require-hashes --python "$venv/bin/python" -r "$lock_file"
  fi || die "could not install the packages of $lock_file. Is the Python package index reachable?"
  printf '%s\n' "$stamp" >"$venv/stamp"
}
