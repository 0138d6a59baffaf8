#!/bin/sh
# Make .venv-bench, the environment of the methods the benchmark compares with: statsforecast and Prophet, exact and
# hashed, from bench/requirements.lock. They get one of their own because what they want of scipy and its kin is not
# what the product has. Nothing else is touched; a second run does nothing.
set -eu
cd "$(dirname "$0")/.."
stamp=.venv-bench/.setup
wanted=$(cat bench/requirements.lock scripts/bench_env.sh | sha256sum | cut -d ' ' -f 1)
if [ "$(cat $stamp 2>/dev/null)" = "$wanted $PWD" ] && [ -x .venv-bench/bin/python ]; then
  exit 0
fi
[ -x .venv/bin/uv ] || { echo "bench: .venv is missing: run make setup first" >&2; exit 1; }
count=$(grep -c '^[a-z0-9].*==' bench/requirements.lock)
echo "bench: making .venv-bench: $count packages of bench/requirements.lock, statsforecast and Prophet and what they need"
rm -f $stamp
.venv/bin/uv venv --clear --seed --quiet --python .venv/bin/python .venv-bench
.venv/bin/uv pip sync --quiet --python .venv-bench/bin/python --require-hashes bench/requirements.lock ||
  .venv/bin/python -m pip --python .venv-bench/bin/python install --quiet --disable-pip-version-check \
    --require-hashes -r bench/requirements.lock
echo "$wanted $PWD" >$stamp
echo "bench: .venv-bench is ready"
