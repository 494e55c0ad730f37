#!/usr/bin/env bash
# Builds the static binaries and the image `dfs:dev`.
#
#   DFS_PROFILE   cargo profile: dist (default: small and fast), or release (builds sooner)
#   DFS_FEATURES  cargo features of dfs-node, e.g. chaos
#   DFS_IMAGE     name of the image; use another one for another set of features
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${DFS_PROFILE:-dist}
features=${DFS_FEATURES:-}
image=${DFS_IMAGE:-dfs:dev}
target=$(uname -m)-unknown-linux-gnu
out=${CARGO_TARGET_DIR:-target}

# --target keeps the flag away from build scripts and procedural macros, which cannot be static.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile "$profile" --target "$target" \
    -p dfs-node -p dfs-client --bins ${features:+--features "dfs-node/$features"}

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/data" "$stage/keys" "$stage/invitations" "$stage/operator" "$stage/tmp"
cp compose/Dockerfile "$out/$target/$profile/dfs-node" "$out/$target/$profile/dfsctl" "$stage/"
docker build --quiet --tag "$image" "$stage" >/dev/null
echo "built $image ($(du -h "$stage/dfs-node" | cut -f1) dfs-node, $(du -h "$stage/dfsctl" | cut -f1) dfsctl)"
