#!/bin/sh
# Installs what is beside this file; run it again whenever it changed. New settings count from the next day's index on.
# ELASTICSEARCH_URL, and ELASTICSEARCH_NETRC: a netrc file with user and password, so that neither is on a command line.
set -eu
cd "$(dirname "$0")"
url=${ELASTICSEARCH_URL:-https://localhost:9200}
put() {
  curl --fail-with-body --silent --show-error --retry 5 --retry-connrefused \
    ${ELASTICSEARCH_NETRC:+--netrc-file "$ELASTICSEARCH_NETRC"} \
    ${ELASTICSEARCH_CA:+--cacert "$ELASTICSEARCH_CA"} \
    -X PUT -H 'Content-Type: application/json' --data-binary "@$2" "$url/$1"
  echo "  $1"
}
for kind in _ilm/policy _component_template _index_template; do  # a template needs what it is composed of
  for file in "$kind"/*.json; do
    put "${file%.json}" "$file"
  done
done
