#!/bin/sh
# All checks and all tests: sh packaging/test.sh [ARGUMENTS of pytest]
# As root on Debian it installs what the tests need; otherwise it says what is missing, and which
# tests that skips. With arguments the binaries are not built, so that a few tests start at once.
# With CI=true nothing may be missing.
set -eu
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

# Servers, and podman's helpers, are where an ordinary PATH does not lead.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/podman

# Package, command, and what is not tested without it.
needs='
mosquitto         mosquitto        the managed broker, and all that goes over MQTT
mosquitto-clients mosquitto_pub    signed commands
docker.io         dockerd          containers on Docker
containerd        containerd       containers on Docker
runc              runc             containers
podman            podman           containers on Podman
catatonit         catatonit        containers on Podman
netavark          netavark         containers on Podman
aardvark-dns      aardvark-dns     containers on Podman
iptables          iptables         containers on Podman, hosts that lose sight of one another
iproute2          ip               networks of their own for engines and hosts
docker-registry   docker-registry  pulling of images
curl              curl             the way through a site that the README shows
procps            pgrep            what quickstart leaves behind
tmux              tmux             the live screen
shellcheck        shellcheck       the shell scripts
systemd           systemd-analyze  the unit file
systemd-container systemd-nspawn   the unit file, under a real systemd
binutils          objdump          the frozen binaries
'

# Commands and not packages: a machine with Docker's own packages must not get Debian's as well.
missing() {
    printf '%s' "$needs" | while read -r package command what; do
        [ -z "$package" ] || command -v "$command" >/dev/null || echo "$package: $what"
    done
    # The images of the tests hold nothing else, so one that needs a library does not run there.
    { command -v busybox && ! ldd "$(command -v busybox)"; } >/dev/null 2>&1 ||
        echo "busybox-static: containers, for it is what their images are made of"
    has_shared_library || echo "$(library_package): the frozen binaries"
}

provide_packages() {
    lacking=$(missing)
    [ -n "$lacking" ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # shellcheck disable=SC2046 # one word for each package
        install_packages $(packages_of "$lacking")
        lacking=$(missing)
    fi
    [ -n "$lacking" ] || return 0
    say "These are missing, and so these tests are skipped:"
    say "$lacking"
    # shellcheck disable=SC2046 # one word for each package
    say "As root: apt-get install --no-install-recommends" $(packages_of "$lacking")
}

packages_of() {
    printf '%s\n' "$1" | cut -d : -f 1 | sort -u
}

install_packages() {
    say "installing Debian packages: $*"
    trap 'allow_servers; exit 130' INT
    trap 'allow_servers; exit 143' TERM
    forbid_servers
    if ! { apt_get update && apt_get install "$@"; }; then
        say "apt-get failed; its reason stands above"
    fi
    allow_servers
    trap - INT TERM
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends "$@" </dev/null >&2
}

# A server that is only here to be tested must not start on this machine when it is installed.
policy=/usr/sbin/policy-rc.d
forbid_servers() {
    [ ! -e "$policy" ] || mv "$policy" "$policy.roheletd-test"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}
allow_servers() {
    rm -f "$policy"
    [ ! -e "$policy.roheletd-test" ] || mv "$policy.roheletd-test" "$policy"
}

# All checks run, also after one that failed, so that one run tells everything.
failed=''
check() {
    say "== $*"
    began=$(date +%s)
    "$@" || failed="$failed
  $*"
    say "   ($(($(date +%s) - began)) s)"
}

# What needs engines, brokers and networks of its own waits most of the time, and the rest computes.
# Two go on beside each other, and so take little longer than the longer one; told one by one.
engines='docker or podman'
others='binary or mosquitto or systemd or root'
tests() {
    "$venv/bin/python" -m pytest -p no:cacheprovider -m "$1" 2>&1
}
beside() {
    result=0
    for which in "($others) and not ($engines)" "not ($engines or $others)"; do
        say "== and beside it: tests $which"
        tests "$which" || result=1
    done
    return "$result"
}
all_tests() {
    told=$(mktemp)
    beside >"$told" 2>&1 &
    other=$!
    check tests "$engines"
    wait "$other" || failed="$failed
  the tests without engines"
    cat "$told"
    rm -f "$told"
}

# In a plain chroot "/" is no mount point, and container engines want it to be one. Everything goes
# on in a bind mount of it, then, which is gone at the end.
need_mounted_root() {
    [ "$(id -u)" = 0 ] && [ -r /proc/self/mountinfo ] &&
        ! grep -q '^[^ ]* [^ ]* [^ ]* [^ ]* / ' /proc/self/mountinfo
}
if need_mounted_root; then
    trap 'umount --recursive --lazy /mnt' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mount --rbind / /mnt
    mount --make-rprivate /mnt
    chroot /mnt sh "$root/packaging/test.sh" "$@"
    exit
fi

cd "$root"
require_python
provide_packages
[ "$(id -u)" = 0 ] || say "Not root: tests that start a container engine are skipped."
use_venv "$root/.venv"
install_checkout dev embedded

if [ "${CI:-}" = true ]; then
    export ROHELETD_TESTS_REQUIRE_ALL=1
fi
check "$venv/bin/python" -m ruff check
check "$venv/bin/python" -m ruff format --check
check "$venv/bin/python" -m mypy
[ $# -gt 0 ] || check sh packaging/build.sh --if-older
if [ $# -gt 0 ]; then
    check "$venv/bin/python" -m pytest "$@"
else
    all_tests
fi

[ -z "$failed" ] || die "failed:$failed"
say "All checks and tests have passed."
