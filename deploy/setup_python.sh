#!/usr/bin/env bash
# Sets up one Python environment in $WARDTUNE_CACHE_DIR from its hashed lock file:
#   setup_python.sh tools    pytest, linters, buf, and what the scripts' tests need
#   setup_python.sh go       Go, where the one in PATH is missing or older than go.mod's
#   setup_python.sh client   what the Python client and the multi-process tests need
#   setup_python.sh peer     transformers, PEFT and TRL, to compare with, on the torch wheel that is there
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

name="${1:?usage: setup_python.sh tools|go|client|peer}"
case "$name" in
  client) lock_file="$repository/clients/python/requirements.lock" ;;
  *) lock_file="$requirements/$name.txt" ;;
esac
[[ -f "$lock_file" ]] || die "there is no lock file $lock_file"
lock_cache
ensure_venv "$name-venv" "$lock_file"
if [[ "$name" == peer ]]; then
  libtorch="$WARDTUNE_CACHE_DIR/libtorch"
  [[ -d "$libtorch/torch" ]] || die "run deploy/fetch_libtorch.sh first"
  "$python" "$repository/deploy/stub_cuda_libraries.py" "$libtorch" \
    "$WARDTUNE_CACHE_DIR/peer-venv/lib/python3.11/site-packages"
fi
