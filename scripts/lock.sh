#!/bin/sh
# Resolve pyproject.toml into requirements.lock: exact versions with hashes, and no host in it, so that
# whatever package index this machine is set up with serves it.
# Resolved for the oldest Python and the platform the tests run on; ARGS such as `--upgrade` go to uv.
set -eu
cd "$(dirname "$0")/.."
{
  echo "# Every package of a development environment, exact and hashed. Made by: make lock"
  .venv/bin/uv pip compile pyproject.toml --extra dev --python-version 3.11 --python-platform linux \
    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet "$@"
} >requirements.lock.new
mv requirements.lock.new requirements.lock

# The methods that the benchmark compares with, without the product: what they want is resolved apart.
{
  echo "# statsforecast, Prophet and what they need, for .venv-bench: exact and hashed. Made by: make lock"
  .venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"], sep="\n")' |
    .venv/bin/uv pip compile - --python-version 3.11 --python-platform linux \
      --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet "$@"
} >bench/requirements.lock.new
mv bench/requirements.lock.new bench/requirements.lock
