# Runs as root inside the container of test_systemd.py, where systemd is process 1.
# Each line that it prints is a fact, NAME=VALUE; what went wrong is the journal's to tell.

unit=roheletd.service
trap 'journalctl --no-pager --output=cat --unit="$unit" >/journal' EXIT

roheletd() {
    /opt/roheletd/roheletd "$@" --data-dir /var/lib/roheletd
}

fact() {
    printf '%s=%s\n' "$1" "$2"
}

property() {
    systemctl show --value --property="$1" "$unit"
}

# until_true SECONDS COMMAND...
until_true() {
    tenths=$(($1 * 10))
    shift
    while ! "$@" >/dev/null 2>&1; do
        tenths=$((tenths - 1))
        [ "$tenths" -gt 0 ] || return 1
        sleep 0.1
    done
}

# The numbers of the processes whose command line has this in it.
processes() {
    for process in /proc/[0-9]*; do
        case $(tr '\0' ' ' 2>/dev/null <"$process/cmdline") in
        *"$1"*) printf '%s ' "${process#/proc/}" ;;
        esac
    done
}

samples() {
    processes '/opt/roheletd/roheletd sample '
}

two_samples() {
    [ "$(samples | wc -w)" = 2 ]
}

both_answer() {
    roheletd instances -o json | grep -o '"state": *"running"' | wc -l | grep -qx 2
}

same_samples() {
    [ "$(samples | wc -w)" = 2 ] && [ "$(samples)" = "$first" ] && echo yes
}

restarted() {
    [ "$(property NRestarts)" = "$1" ] && systemctl is-active --quiet "$unit"
}

milliseconds() {
    echo $(($(date +%s%N) / 1000000))
}

fact start_exit "$(systemctl start "$unit"; echo $?)"
fact active "$(systemctl is-active "$unit")"
systemctl is-active --quiet "$unit" || exit 1
main=$(property MainPID)
fact account "$(stat -c %U "/proc/$main")"
fact capabilities "$(sed -n 's/^CapEff:\t//p' "/proc/$main/status")"
fact seccomp "$(sed -n 's/^Seccomp:\t//p' "/proc/$main/status")"

roheletd orchestration add-service --conf /services.yaml >&2
until_true 20 two_samples
until_true 10 both_answer
first=$(samples)
fact samples "$(samples | wc -w)"

sleep 9  # twice what the watchdog allows
fact watchdog_kept "$([ "$(property MainPID)" = "$main" ] && echo yes)"
fact broker "$(roheletd status -o json | grep -o '"connected": *[a-z]*')"

began=$(milliseconds)
systemctl stop "$unit"
fact stop_ms $(($(milliseconds) - began))
fact stop_result "$(property Result)"
fact stop_exit "$(property ExecMainStatus)"
fact samples_after_stop "$(same_samples)"

systemctl start "$unit"
until_true 10 both_answer
sleep 2
fact samples_after_start "$(same_samples)"

systemctl kill --kill-whom=main --signal=KILL "$unit"
fact restarted_after_kill "$(until_true 10 restarted 1 && echo yes)"
until_true 10 both_answer
sleep 2
fact samples_after_kill "$(same_samples)"
fact brokers "$(processes /mosquitto.conf | wc -w)"

systemctl kill --kill-whom=main --signal=STOP "$unit"
fact restarted_after_hang "$(until_true 20 restarted 2 && echo yes)"
fact hang_reason "$(journalctl --no-pager --unit="$unit" | grep -o 'Watchdog timeout' | sort -u)"
until_true 10 both_answer
fact samples_after_hang "$(same_samples)"

roheletd orchestration remove-service sample >&2
fact samples_removed "$(until_true 20 test -z "$(samples)" && echo yes)"
systemctl stop "$unit"
