#!/usr/bin/env bash
# Unpacks LibTorch out of the official PyTorch wheel into $WARDTUNE_CACHE_DIR/libtorch, with the two
# small wheels that libtorch_cpu.so needs besides (docs/adr). Does nothing where they are there.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

lock_file="$requirements/libtorch.txt"
libtorch="$WARDTUNE_CACHE_DIR/libtorch"
stamp="$(sha256sum <"$lock_file")"

lock_cache
if [[ -f "$libtorch/.stamp" && "$(cat "$libtorch/.stamp")" == "$stamp" ]]; then
  say "LibTorch is in $libtorch"
  exit
fi

check_python
work="$(mktemp -d "$WARDTUNE_CACHE_DIR/.libtorch.XXXXXX")"
trap 'rm -rf "$work"' EXIT

say "Downloading LibTorch (540 MB, package torch; a few minutes)"
"$python" -m pip download --quiet --no-input --no-deps --require-hashes --no-cache-dir \
  --disable-pip-version-check --only-binary :all: --dest "$work/wheels" -r "$lock_file" ||
  die "could not download LibTorch's wheels. Is the Python package index reachable?"

say "Unpacking it"
mkdir "$work/libtorch"
for wheel in "$work"/wheels/*.whl; do
  unzip -q -o "$wheel" -d "$work/libtorch"
done
for library in torch/lib/libtorch_cpu.so torch/lib/libc10.so nvidia/cu13/lib/libcudart.so.13 \
  nvidia/cu13/lib/libcupti.so.13; do
  [[ -f "$work/libtorch/$library" ]] || die "the wheels do not hold $library"
done
printf '%s\n' "$stamp" >"$work/libtorch/.stamp"
rm -rf "$libtorch"
mv "$work/libtorch" "$libtorch"
say "LibTorch is in $libtorch"
