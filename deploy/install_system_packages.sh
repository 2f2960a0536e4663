#!/usr/bin/env bash
# Installs the Debian 12 packages that wardtune is built with. Does nothing, and needs no
# network or root, where all of them are installed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

packages=(
  # Build
  cmake ninja-build ccache g++ pkg-config
  rustc-web cargo-web # Rust 1.96; Debian's plain cargo is too old for the tokenizer crates
  # Libraries
  libgrpc++-dev protobuf-compiler-grpc protobuf-compiler libprotobuf-dev libabsl-dev
  prometheus-cpp-dev libsqlite3-dev libsimdjson-dev libre2-dev libssl-dev libgtest-dev libgmock-dev
  # Scripts and tests
  python3 python3-venv python3-pip curl jq unzip git ca-certificates
  # Lint
  clang-format-19 clang-tidy-19
)

missing=()
for package in "${packages[@]}"; do
  status="$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" || status=none
  [[ "$status" == installed ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  say "All ${#packages[@]} system packages are installed"
  exit
fi

as_root=()
if [[ $EUID -ne 0 ]]; then
  command -v sudo >/dev/null ||
    die "these packages are missing, and installing them needs root or sudo: ${missing[*]}"
  as_root=(sudo)
fi

say "Installing ${#missing[@]} system packages: ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
"${apt[@]}" update || die "apt-get update failed. Is Debian's package archive reachable?"
"${apt[@]}" install --yes --no-install-recommends "${missing[@]}" >/dev/null ||
  die "apt-get could not install: ${missing[*]}. This needs Debian 12 (bookworm) with its updates."
