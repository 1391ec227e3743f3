# shellcheck shell=bash
# Part of run.sh: cgf charge and cgf uncharge, and the control files (R6.1-R6.7).

held() { [ "$(cgf get "$1" bc.numfiles.held 2>/dev/null)" = "$2" ]; }

# The line of bc.stat about a resource: held, maxheld, barrier, limit, failcnt.
stat_line() { awk -v name="$1" '{ for (i = 1; i < NF; i++) if ($i == name) print $(i+1), $(i+2), $(i+3), $(i+4), $(i+5) }' "$scratch/out"; }

counting() {
    local b=$h-counted holder
    names+=("$b")
    fails "charge: not bound" EOPNOTSUPP charge "$h:" numfiles 1
    fails "uncharge: not bound" EOPNOTSUPP uncharge "$h:" numfiles 1
    export CGF_OPTIONS=backend=$backend,freezer,signal,beancounter
    works "create with beancounter" create "$b:web/1"
    works "set a limit" set "$b:web" bc.numfiles.limit 10
    works "set a barrier" set "$b:web" bc.numfiles.barrier 5
    fails "set: a barrier above the limit" EINVAL set "$b:web" bc.numfiles.barrier 11

    works "charge" charge "$b:web/1" numfiles 4
    check "charge is silent" test -z "$out"
    check "the group keeps it" held "$b:web/1" 4
    check "and it counts above" held "$b:web" 4
    fails "charge --severity barrier" EMFILE charge "$b:web/1" numfiles 2 --severity barrier
    check "the refusal names the group" test "${err/web holds 4/}" != "$err"
    works "charge over the barrier" charge "$b:web/1" numfiles 2
    fails "charge over the limit" EMFILE charge "$b:web/1" numfiles 5
    works "charge --severity force" charge "$b:web/1" numfiles 5 --severity force
    check "force goes over the limit" held "$b:web" 11
    run get "$b:web" bc.stat
    check "bc.stat begins with its version" test "$(head -n 1 "$scratch/out")" = "Version: 2.5"
    check "bc.stat has the figures" test "$(stat_line numfiles)" = "11 11 5 10 2"
    fails "rm: the group holds something" EBUSY rm "$b:web/1"
    works "uncharge" uncharge "$b:web/1" numfiles 11
    check "uncharge gives it back" held "$b:web" 0
    works "uncharge of nothing" uncharge "$b:web/1" numfiles 1
    run get "$b:web/1" bc.underflow
    check "is counted" says 1

    # shellcheck disable=SC2016 # The command's own shell expands it.
    works "charge -- COMMAND" charge "$b:web/1" numfiles 3 -- sh -c '"$CGF" get "$1" bc.numfiles.held' - "$b:web"
    check "it is held meanwhile" says 3
    check "and not after" held "$b:web" 0
    run charge "$b:web/1" numfiles 3 -- sh -c 'exit 7'
    check "the status is the command's" test "$status" = 7
    run charge "$b:web/1" numfiles 3 -- echo "a  b" c
    check "the command's output and arguments" says "a  b c"
    fails "charge: no such command" "No such file" charge "$b:web/1" numfiles 3 -- /no/such/program
    check "no command, no charge" held "$b:web" 0
    fails "charge for a command: refused" EMFILE charge "$b:web/1" numfiles 11 -- touch "$scratch/ran"
    check "the command was not run" test ! -e "$scratch/ran"

    "$CGF" charge "$b:web/1" numfiles 3 -- sleep 300 </dev/null >/dev/null 2>&1 &
    holder=$!
    started+=("$holder")
    disown "$holder"
    check "a command holds its charge" eventually held "$b:web" 3
    check "it is the command itself" eventually grep -qx sleep "/proc/$holder/comm"
    fails "rm: a process holds something" EBUSY rm "$b:web/1"
    kill -KILL "$holder"
    check "killed, it holds nothing" eventually held "$b:web" 0

    fails "charge: no such resource" ENOENT charge "$b:web/1" widgets 1
    fails "uncharge: no such resource" ENOENT uncharge "$b:web/1" widgets 1
    fails "charge: too much" EINVAL charge "$b:web/1" numfiles 281474976710657
    works "charge nothing" charge "$b:web/1" numfiles 0
    misused "charge: no amount" charge "$b:web/1" numfiles
    misused "charge: a negative amount" charge "$b:web/1" numfiles -1
    misused "charge: an unknown severity" charge "$b:web/1" numfiles 1 --severity hard
    fails "get: no such resource" ENOENT get "$b:web" bc.widgets.held
    fails "set: not to be set" EACCES set "$b:web" bc.numfiles.held 0
    works "set both" set "$b:web" bc.numfiles.limits "5 max"
    run get "$b:web" bc.numfiles.limits
    check "both are set" says "5 max"

    works "create flat" create -o "backend=$backend,freezer,signal,beancounter,flat" "$b-flat:web/1"
    names+=("$b-flat")
    works "charge flat" charge "$b-flat:web/1" numfiles 3
    check "a flat charge is in the group" held "$b-flat:web/1" 3
    check "and not above" held "$b-flat:web" 0
    works "uncharge flat" uncharge "$b-flat:web/1" numfiles 3
    export CGF_OPTIONS=backend=$backend
    works "rm flat" rm "$b-flat:" -r
    works "rm the counted hierarchy" rm "$b:" -r
}
