#!/bin/sh
# Try roheletd from this checkout: sh packaging/quickstart.sh [ARGUMENTS of roheletd quickstart]
# Needs python3 and python3-venv. Installs into .venv the first time, and starts at once later.
set -eu
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

use_venv "$root/.venv"
install_checkout embedded
exec "$venv/bin/roheletd" quickstart "$@"
