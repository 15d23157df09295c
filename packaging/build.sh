#!/bin/sh
# Freeze roheletd into binaries that need no Python: sh packaging/build.sh [--if-older]
#   dist/roheletd/roheletd   a folder; starts at once, and is what systemd/roheletd.service runs
#   dist/roheletd-onefile    one file to carry about; unpacks itself into $TMPDIR at each start
# They run where the C library is as new as here. With --if-older: only if the sources are newer.
set -eu
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

binary=$root/dist/roheletd/roheletd
cd "$root"

if [ "${1:-}" = --if-older ] && [ -x "$binary" ] && [ -x dist/roheletd-onefile ]; then
    sources=$(find pyproject.toml packaging roheletd -type f ! -name '*.pyc' -newer "$binary")
    [ -n "$sources" ] || exit 0
fi

require_python
command -v objdump >/dev/null ||
    die "objdump was not found. On Debian: apt-get install binutils"
has_shared_library ||
    die "$python has no shared library to put into a binary. On Debian: apt-get install
  $(library_package); a Python of your own is built with --enable-shared"

# A venv of its own, for whatever else is installed could find its way into the binaries.
use_venv "$root/build/venv"
mkdir -p "$root/build" 2>/dev/null || die "$root is not writable for $(id -un)"
rm -rf build/lib build/bdist.* build/pyinstaller
make_venv
say "installing roheletd and PyInstaller into $venv"
pip_install "${root}[build,embedded]"
say "freezing; this takes about half a minute on a PC"
"$venv/bin/python" -m PyInstaller --noconfirm --log-level WARN \
    --distpath dist --workpath build/pyinstaller packaging/roheletd.spec >&2
say "made $(du -sh dist/roheletd | cut -f 1) dist/roheletd, $(du -h dist/roheletd-onefile | cut -f 1) dist/roheletd-onefile"
