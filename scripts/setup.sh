#!/bin/sh
# Make a checkout ready to work in: the servers that tests and demo start, and .venv.
#
# Servers on PATH are used as they are. What is missing is unpacked from Debian packages into .tools/; nothing
# is installed on the system, root is not needed, and no service is started.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
tools=$root/.tools
stamp=.venv/.setup

say() { printf '%s\n' "setup: $*"; }
fail() { printf '%s\n' "setup: $*" >&2; exit 1; }
has() { PATH=$PATH:$tools/bin command -v "$1" >/dev/null 2>&1; }

# program:package
programs="prometheus:prometheus promtool:prometheus prometheus-alertmanager:prometheus-alertmanager
  amtool:prometheus-alertmanager prometheus-pushgateway:prometheus-pushgateway
  prometheus-node-exporter:prometheus-node-exporter redis-server:redis-server"

missing_packages() {
  for pair in $programs; do
    has "${pair%%:*}" || printf '%s\n' "${pair#*:}"
  done | sort -u | tr '\n' ' '
}

# ---- already done? ------------------------------------------------------------------------------------------
wanted=$(cat requirements.lock pyproject.toml scripts/setup.sh | sha256sum | cut -d ' ' -f 1)
missing=$(missing_packages)
if [ -z "$missing" ] && [ "$(cat $stamp 2>/dev/null)" = "$wanted $root" ] && [ -x .venv/bin/detector ]; then
  exit 0
fi

# ---- servers ------------------------------------------------------------------------------------------------
# What the server packages need besides libc: libraries of Redis, and the scripts of the web pages.
libraries="libjemalloc.so.2:libjemalloc2 liblzf.so.1:liblzf1 libatomic.so.1:libatomic1 libssl.so.3:libssl3
  libsystemd.so.0:libsystemd0"
pages="fonts-glyphicons-halflings libjs-bootstrap libjs-bootstrap4 libjs-d3
  libjs-eonasdan-bootstrap-datetimepicker libjs-jquery libjs-jquery-hotkeys libjs-moment libjs-moment-timezone
  libjs-mustache libjs-popper.js libjs-rickshaw"

missing_libraries() {
  present=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null || true)
  for pair in $libraries; do
    case $present in *"${pair%%:*} "*) ;; *) printf '%s\n' "${pair#*:}" ;; esac
  done
}

private_apt() { # apt with lists and caches of its own, so that it neither needs root nor changes the system
  mkdir -p "$tools/apt/lists/partial" "$tools/apt/cache/archives/partial"
  apt-get -qq -o Dir::State::lists="$tools/apt/lists" -o Dir::Cache="$tools/apt/cache" \
    -o APT::Sandbox::User= "$@"
}

download() { # every package in "$@" as .deb files in the current folder
  apt-get -qq -o APT::Sandbox::User= download "$@" >"$tools/apt.log" 2>&1 && return
  say "the package lists here do not serve: fetching fresh ones into .tools/apt"
  private_apt update >>"$tools/apt.log" 2>&1 || true # a foreign source may fail without harm
  private_apt download "$@" >>"$tools/apt.log" 2>&1
}

wrap() { # an executable .tools/bin/NAME that runs the unpacked program with what it expects around it
  {
    echo '#!/bin/sh'
    echo 'unpacked=$(dirname "$(readlink -f "$0")")/../root'
    printf '%s\n' "$2"
    printf 'exec "$unpacked/usr/bin/%s" "$@"\n' "$1"
  } >bin.new/"$1"
  chmod +x bin.new/"$1"
}

unpack_servers() ( # PACKAGE…
  mkdir -p "$tools/debs"
  cd "$tools/debs"
  say "downloading Debian packages into .tools: $*"
  # shellcheck disable=SC2046,SC2086  # lists of words
  if ! download "$@" $(case $* in *redis*) echo redis-tools; missing_libraries ;; esac) $pages; then
    tail -n 3 "$tools/apt.log" >&2
    return 1
  fi
  cd "$tools"
  rm -rf root.new bin.new
  mkdir -p root.new bin.new
  for package in debs/*.deb; do
    dpkg -x "$package" root.new
  done
  # Debian's builds read their templates and pages from /usr/share/prometheus. Ours find them through file
  # descriptor 9, which the wrapper opens: a path of the same length, so that the programs stay intact.
  for program in prometheus prometheus-alertmanager prometheus-pushgateway; do
    [ -f root.new/usr/bin/$program ] || continue
    LC_ALL=C sed -i 's#/usr/share/prometheus#/proc/self/fd/9//////#g' root.new/usr/bin/$program
    wrap $program 'exec 9<"$unpacked/usr/share/prometheus"'
  done
  for program in promtool amtool prometheus-node-exporter; do
    [ -f root.new/usr/bin/$program ] && wrap $program ''
  done
  for program in redis-server redis-cli; do
    [ -f root.new/usr/bin/$program ] && wrap $program 'for libraries in "$unpacked"/usr/lib/*-linux-gnu; do
  LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH'
  done
  rm -rf root bin debs apt
  mv root.new root
  mv bin.new bin
)

by_hand() { # PACKAGE…
  fail "these servers are missing: $*. On Debian or Ubuntu: apt-get install --no-install-recommends $*;" \
    "elsewhere put the programs on PATH or into the folder DETECTOR_TOOLS names, and run make setup again."
}

if [ -n "$missing" ]; then
  # shellcheck disable=SC2086
  {
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || by_hand $missing
    unpack_servers $missing || by_hand $missing
  }
fi
for pair in $programs; do
  has "${pair%%:*}" || by_hand "${pair#*:}"
done

# ---- Python -------------------------------------------------------------------------------------------------
python=${PYTHON:-}
for candidate in python3.11 python3.12 python3.13 python3 python; do
  [ -z "$python" ] || break
  if "$candidate" -c 'import sys; sys.exit(not sys.version_info >= (3, 11))' 2>/dev/null; then
    python=$candidate
  fi
done
[ -n "$python" ] || fail "no Python 3.11 or newer was found: install python3 (Debian 12 or newer), or set PYTHON."

made_here() { # a checkout that was moved or copied needs a new one: scripts carry its absolute path
  grep -qsF "$root/.venv" .venv/bin/activate && .venv/bin/python -m pip --version >/dev/null 2>&1
}

make_venv() {
  "$python" -m venv --clear .venv >/dev/null 2>&1 && return
  command -v uv >/dev/null && uv venv --clear --seed --quiet --python "$python" .venv && return
  # Debian keeps pip out of its python3: take it from the package that python3-venv would bring.
  say "$python has no pip to put into .venv: downloading Debian's python3-pip-whl into .tools"
  mkdir -p "$tools/pip"
  (cd "$tools/pip" && download python3-pip-whl && dpkg -x python3-pip-whl_*.deb .) &&
    "$python" -m venv --clear --without-pip .venv &&
    pip=$(echo "$tools"/pip/usr/share/python-wheels/pip-*.whl) &&
    .venv/bin/python "$pip/pip" install --quiet --no-index "$pip" &&
    rm -rf "$tools/pip" && return
  fail "$python cannot make a virtual environment: install python3-venv (Debian), or uv."
}

install_lock() {
  # uv installs in seconds what takes pip a minute. It comes from the lock too, by pip, which knows how this
  # machine reaches its package index; where uv does not, pip does the rest as well.
  sed -n '/^uv==/,/^[^ ]*==/{/^uv==/p;/^ /p}' requirements.lock >.venv/uv.lock
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
  .venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock 2>.venv/uv.log ||
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
}

say "making .venv: the packages of requirements.lock, and this project on top (editable)"
rm -f "$stamp"
made_here || make_venv
install_lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
rm -rf "$tools/apt"
say "compiling the forecast engine, once"
.venv/bin/python scripts/warm_up.py || say "it could not be compiled now: the first forecast will take a minute longer"
echo "$wanted $root" >"$stamp"
say "ready. Servers: $(PATH=$PATH:$tools/bin command -v prometheus | sed "s#^$root/##") and its kin; try: make demo"
