#!/bin/sh
# Check the rendered dashboards against Grafana's own published TypeScript types: a field that Grafana does not know, or
# a value it does not take, fails. Needs npm, which brings the types and the compiler into a directory of its own.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$work" @grafana/schema@11.6.0 typescript@5.7.3
cp scripts/dashboard_types.ts "$work/types.ts"
number=0
for file in deploy/*/grafana/dashboards/*/*.json; do
  number=$((number + 1))
  "${PYTHON:-.venv/bin/python}" scripts/dashboard_as_typescript.py "$file" >"$work/dashboard$number.ts"
done
(cd "$work" && ./node_modules/.bin/tsc --noEmit --strict --skipLibCheck --module esnext --moduleResolution node dashboard*.ts)
echo "$number dashboards are what Grafana's types say"
