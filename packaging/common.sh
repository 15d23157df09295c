# shellcheck shell=sh
# Sourced by the scripts beside it. What is said here goes to standard error, because standard
# output belongs to the program that is run in the end.

root=$(cd "$(dirname "$0")/.." && pwd -P)
python=${PYTHON:-python3}

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "$0: $*"
    exit 1
}

require_python() {
    command -v "$python" >/dev/null ||
        die "$python was not found. Install Python 3.11 or newer (on Debian 12:
  apt-get install python3 python3-venv) or name the one to use: PYTHON=/path/to/python3 sh $0"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$python is $("$python" --version 2>&1) and 3.11 is the oldest that will do.
  Name a newer one: PYTHON=/path/to/python3.11 sh $0"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python has no module venv. On Debian: apt-get install python3-venv"
}

# use_venv FOLDER: what the functions below work on.
use_venv() {
    venv=$1
}

# What an installation depends on: where the checkout lies, the interpreter, the requirements. Not
# the sources: they are run where they lie, so `git pull` alone needs no new installation.
state_of() {
    { printf '%s %s ' "$root" "$1" && readlink -f "$venv/bin/python" && cat "$root/pyproject.toml"; } |
        sha256sum
}

# is_installed EXTRA...
is_installed() {
    [ -x "$venv/bin/python" ] || return 1
    for extra in "$@"; do
        [ "$(cat "$venv/installed-$extra" 2>/dev/null)" = "$(state_of "$extra")" ] || return 1
    done
}

# install_checkout EXTRA...: nothing to do where these are installed already.
install_checkout() {
    is_installed "$@" && return
    make_venv
    extras=$(printf '%s,' "$@")
    say "installing roheletd and what it needs into $venv"
    pip_install --editable "${root}[${extras%,}]"
    for extra in "$@"; do
        state_of "$extra" >"$venv/installed-$extra"
    done
}

# A venv names its own path and its interpreter's: a copied, moved or outlived one is made again.
make_venv() {
    if grep -qsF "$venv" "$venv/bin/activate" && "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        return
    fi
    require_python
    { rm -rf "$venv" && mkdir "$venv"; } 2>/dev/null ||
        die "$venv cannot be made, for $root is not writable for $(id -un): use a copy of your own"
    say "making $venv with $("$python" --version)"
    "$python" -m venv "$venv" >&2 || die "$venv could not be made; the reason stands above"
}

pip_install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input "$@" >&2 ||
        die "pip could not install what is needed; its reason stands above. It needs a package
  index (PyPI or a mirror): check the network and \`$venv/bin/python -m pip config list\`"
}

# Debian keeps it in a package of its own.
has_shared_library() {
    "$python" -c 'import ctypes, sysconfig
ctypes.CDLL(sysconfig.get_config_var("INSTSONAME"))' 2>/dev/null
}

library_package() {
    "$python" -c 'import sys; print("libpython%d.%d" % sys.version_info[:2])'
}
