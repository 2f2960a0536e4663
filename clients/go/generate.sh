#!/usr/bin/env bash
# Writes gen/ anew from the contract, with the plugins that go.mod pins and Debian's protoc.
# `generate.sh --check` writes nothing and fails when gen/ lags behind the contract.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go="$(../../deploy/find_go.sh)"
GOBIN="$work/bin" GOTOOLCHAIN=local "$go" install tool
mkdir "$work/gen"
protoc -I ../../proto \
  --plugin="$work/bin/protoc-gen-go" --plugin="$work/bin/protoc-gen-go-grpc" \
  --go_out="$work/gen" --go_opt=module=github.com/wardtune/wardtune/clients/go/gen \
  --go-grpc_out="$work/gen" --go-grpc_opt=module=github.com/wardtune/wardtune/clients/go/gen \
  ../../proto/wardtune/v1/*.proto

if [[ "${1:-}" == --check ]]; then
  diff -r "$work/gen" gen || {
    echo "error: clients/go/gen lags behind proto/; run clients/go/generate.sh" >&2
    exit 1
  }
  exit 0
fi
rm -rf gen
mv "$work/gen" gen
