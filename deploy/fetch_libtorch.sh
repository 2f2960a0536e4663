#!/usr/bin/env bash
# Unpacks LibTorch out of the official PyTorch wheel into $WARDTUNE_CACHE_DIR/libtorch, with the two
# small wheels that libtorch_cpu.so needs besides (docs/adr). Does nothing where they are there.
# `fetch_libtorch.sh cuda` fetches all of CUDA's wheels too (3 GB) into libtorch-cuda, for a build with
# -DWARDTUNE_CUDA=ON.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

lock_files=("$requirements/libtorch.txt")
libtorch="$WARDTUNE_CACHE_DIR/libtorch"
case "${1:-}" in
  "") ;;
  cuda)
    lock_files+=("$requirements/libtorch-cuda.txt")
    libtorch+="-cuda"
    ;;
  *) die "usage: fetch_libtorch.sh [cuda]" ;;
esac
stamp="$(cat "${lock_files[@]}" | sha256sum)"

lock_cache
if [[ -f "$libtorch/.stamp" && "$(cat "$libtorch/.stamp")" == "$stamp" ]]; then
  say "LibTorch is in $libtorch"
  exit
fi

check_python
work="$(mktemp -d "$WARDTUNE_CACHE_DIR/.libtorch.XXXXXX")"
trap 'rm -rf "$work"' EXIT

say "Downloading LibTorch (540 MB, package torch; a few minutes)"
for lock_file in "${lock_files[@]}"; do
  "$python" -m pip download --quiet --no-input --no-deps --require-hashes --no-cache-dir \
    --disable-pip-version-check --only-binary :all: --dest "$work/wheels" -r "$lock_file" ||
    die "could not download LibTorch's wheels. Is the Python package index reachable?"
done

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
