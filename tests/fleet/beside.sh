#!/bin/bash
# `make test`: what needs no machines runs beside the tests on machines, and is shown when those have ended. Two more
# fleets join the first when it has ended (conftest.py).
set -u
cd "$(dirname "$0")/../.." || exit
set -m # a process group for each, so that a signal reaches all of it
jobs=()
said=$(mktemp)

# shellcheck disable=SC2317,SC2329 # called by the traps
end() {
    status=$?
    trap '' EXIT HUP INT TERM
    for job in "${jobs[@]}"; do kill -- "-$job" 2>/dev/null; done
    wait
    cat "$said"
    rm "$said"
    exit "$status"
}
trap end EXIT
trap 'exit 143' HUP INT TERM

nice -n 10 make --no-print-directory test-bare >"$said" 2>&1 </dev/null &
jobs+=($!)
GLOBOAPP_BESIDE=$! make --no-print-directory test-fleet </dev/null &
jobs+=($!)
status=0
for job in "${jobs[@]}"; do wait "$job" || status=1; done
exit "$status"
