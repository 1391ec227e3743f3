#!/usr/bin/env bash
# Tests of the cgf command, on every backend. TAP on standard output.
#
#   CGF=PATH          the program (default: target/debug/cgf of this workspace)
#   CGF_BACKENDS=...  which backends (default: cgroup2 cgroup1 embedded)
#   CGF_DEMAND=1      a backend that is missing is a failure, not a skip
#
# On a live kernel: makes hierarchies of its own, touches only processes that it
# started, and removes all of it, whatever fails.
set -u

# Where the leader of our session is outside of our pid namespace, as in a container
# that was entered, CRIU cannot make the session again: then one of our own.
read -r _ _ _ _ _ session _ </proc/$$/stat
[ "$session" != 0 ] || exec setsid --wait "$0" "$@"

here=$(cd "$(dirname "$0")" && pwd)
CGF=${CGF:-$here/../../target/debug/cgf}
[ -x "$CGF" ] || { echo "Bail out! no program $CGF: set CGF"; exit 1; }
CGF=$(realpath "$CGF")
export CGF
unset CGF_OPTIONS

scratch=$(mktemp -d)
backends=${CGF_BACKENDS:-cgroup2 cgroup1 embedded}
count=0 passed=0 failed=0 skipped=0
started=()      # processes to end, by number
names=()        # hierarchies to end
fuse_mount=$scratch/silent
fuse_fd=

# ---- the harness ----------------------------------------------------------

# Nothing here may wait for ever, a test of a freezer least of all.
cgf() { timeout --kill-after=5 30 "$CGF" "$@"; }

ok() { count=$((count + 1)) passed=$((passed + 1)); echo "ok $count - $*"; }

not_ok() {
    count=$((count + 1)) failed=$((failed + 1))
    echo "not ok $count - $*"
    echo "#   ran: cgf ${ran[*]-} (backend ${backend-})"
    echo "#   status: ${status-}"
    sed 's/^/#   stdout: /' "$scratch/out" 2>/dev/null | head -n 20
    sed 's/^/#   stderr: /' "$scratch/err" 2>/dev/null | head -n 20
}

skip() { count=$((count + 1)) skipped=$((skipped + 1)); echo "ok $count - $1 # SKIP $2"; }

# check NAME COMMAND...: whether the command succeeds.
check() {
    local name=$1
    shift
    if "$@"; then ok "$name"; else not_ok "$name"; fi
}

# Runs cgf, and keeps its output, its errors and its status.
run() {
    ran=("$@")
    cgf "$@" >"$scratch/out" 2>"$scratch/err"
    status=$?
    out=$(tr -d '\0' <"$scratch/out") err=$(tr -d '\0' <"$scratch/err")
}

# works NAME ARGS...: cgf ARGS succeeds and says nothing on standard error.
works() {
    local name=$1
    shift
    run "$@"
    check "$name" test "$status" = 0 -a -z "$err"
}

# fails NAME WORD ARGS...: status 1, and one line that holds the word.
fails() {
    local name=$1 word=$2
    shift 2
    run "$@"
    check "$name" one_line_with "$word"
}

one_line_with() {
    [ "$status" = 1 ] && [ "$(wc -l <"$scratch/err")" = 1 ] && [[ $err == cgf:\ * ]] && [[ $err == *"$1"* ]]
}

# misused NAME ARGS...: status 2, and something said.
misused() {
    local name=$1
    shift
    run "$@"
    check "$name" test "$status" = 2 -a -n "$err"
}

# The value of a Python expression over the JSON (as j) that the last run printed.
json() { python3 -c 'import json,sys; j = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$scratch/out" "$1" 2>&1; }

is_json() { python3 -m json.tool "$scratch/out" >/dev/null 2>&1; }

# eventually COMMAND...: whether it succeeds within five seconds.
eventually() {
    local i
    for i in $(seq 100); do
        "$@" && return 0
        sleep 0.05
    done
    return 1
}

sleeper() {
    sleep 300 </dev/null >/dev/null 2>&1 &
    pid=$!
    started+=("$pid")
    # Or bash reports its death on whatever standard error is at that moment.
    disown "$pid"
}

cleanup() {
    local name pid
    [ -n "$fuse_fd" ] && exec {fuse_fd}>&-
    for name in "${names[@]}"; do
        for backend in $backends; do
            cgf -o "backend=$backend" thaw "$name:" 2>/dev/null
            cgf -o "backend=$backend" rm "$name:" --kill -r 2>/dev/null
        done
    done
    for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null; done
    wait 2>/dev/null
    mountpoint -q "$fuse_mount" 2>/dev/null && umount -f -l "$fuse_mount"
    rm -rf --one-file-system "$scratch"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

. "$here/checkpoint.sh"
. "$here/beancounter.sh"
. "$here/files.sh"
. "$here/namespace.sh"

# ---- usage, without a backend ----------------------------------------------

usage() {
    backend=
    works "help" --help
    works "version" --version
    check "version names the program" test "${out%% *}" = cgf
    for command in doctor create exec attach enter freeze thaw state checkpoint restore kill rm ls ps get set charge uncharge watch monitor demo; do
        works "help of $command" "$command" --help
        [ "$command" = demo ] || check "$command has an example" grep -q "Example: \|test \"" "$scratch/out"
    done
    misused "no command"
    misused "unknown command" frobnicate
    misused "no group" freeze
    misused "a group and a process" freeze x:y --pid 1
    misused "a deadline without a unit" freeze x:y --deadline 5
    misused "an unknown signal" kill x:y -s NOSUCH
    misused "a signal above 64" kill x:y -s 65
    misused "attach nobody" attach x:y
    misused "attach process 0" attach x:y 0
    misused "exec nothing" exec x:y
    misused "checkpoint nothing" checkpoint x:y
    misused "checkpoint: images and a command" checkpoint x:y --images d -- true
    misused "checkpoint: two ends" checkpoint x:y --images d --leave-running --leave-frozen
    misused "restore nothing" restore x:y
    misused "an unknown option" -o speed=high ls
    misused "an unknown backend" -o backend=cgroup3 ls
    CGF_OPTIONS=backend=cgroup3 misused "the environment's options" ls
    works "hierarchies" ls
    works "hierarchies as JSON" ls --json
    check "it parses" is_json
    run doctor --json
    check "doctor's JSON parses" is_json
    check "doctor knows three backends" test "$(json 'len(j["backends"])')" = 3
    run doctor
    check "doctor has a line each" test "$(wc -l <"$scratch/out")" = 3
}

# ---- one backend -----------------------------------------------------------

does_not_exist() {
    local h=$h-nowhere
    names+=("$h")
    fails "state: no hierarchy" "there is no hierarchy $h" state "$h:x"
    fails "freeze: no hierarchy" ENOENT freeze "$h:x"
    fails "thaw: no hierarchy" ENOENT thaw "$h:x"
    fails "kill: no hierarchy" ENOENT kill "$h:x"
    fails "rm: no hierarchy" ENOENT rm "$h:x"
    fails "rm: no hierarchy, root" ENOENT rm "$h:"
    fails "ls: no hierarchy" ENOENT ls "$h"
    fails "ps: no hierarchy" ENOENT ps "$h:x"
    fails "get: no hierarchy" ENOENT get "$h:x" freezer.state
    fails "set: no hierarchy" ENOENT set "$h:x" freezer.state THAWED
    fails "attach: no hierarchy" ENOENT attach "$h:x" $$
    fails "exec: no hierarchy" ENOENT exec "$h:x" -- true
    fails "state --json: no hierarchy" ENOENT state "$h:x" --json
    check "an error parses as JSON" is_json
    check "an error has its errno" test "$(json 'j["error"]["errno"], j["error"]["name"]')" = "(2, 'ENOENT')"
    run ls
    check "none of them made it" test "${out/$h/}" = "$out"
}

creating() {
    works "create" create "$h:web"
    fails "create: exists" EEXIST create "$h:web"
    works "create with parents" create "$h:a/b"
    works "create two" create "$h:c" "$h:d"
    fails "create: no name" EINVAL create "$h:.."
    fails "create: a control file's name" EINVAL create "$h:cgroup.procs"
    fails "create: too long" ENAMETOOLONG create "$h:$(printf 'n%.0s' $(seq 256))"
    fails "create: hierarchy exists" EEXIST create "$h:"
    works "create: bytes that are not UTF-8" create "$h:"$'\xff\xfe'
    run ls "$h"
    check "ls prints them as they are" grep -aq $':/\xff\xfe$' "$scratch/out"
    works "rm: bytes that are not UTF-8" rm "$h:"$'\xff\xfe'
    fails "state: no group" ENOENT state "$h:nosuch"
    works "ls" ls "$h"
    check "ls has a line for each group" test "$(tail -n +2 "$scratch/out" | awk '{print $3}' | tr '\n' ' ')" \
        = "$h:/ $h:/a $h:/a/b $h:/c $h:/d $h:/web "
    run ls "$h:a" --json
    check "ls --json parses" is_json
    check "ls begins at a group" test "$(json '[g["group"] for g in j["groups"]]')" = "['$h:/a', '$h:/a/b']"
    run ls --json
    check "ls finds the hierarchy" test "$(json "[x['backend'] for x in j['hierarchies'] if x['hierarchy'] == '$h']")" = "['$backend']"
    run ls
    check "ls shows the hierarchy" grep -q "^$backend .* $h " "$scratch/out"
    fails "rm: groups below" "-r removes" rm "$h:a"
    works "rm -r" rm "$h:a" -r
    works "rm" rm "$h:c"
    works "rm, and again" rm "$h:d"
    fails "rm: no group" ENOENT rm "$h:d"
    fails "rm: hierarchy with groups" EBUSY rm "$h:"
}

executing() {
    local parent child
    works "exec" exec "$h:web" -- true
    run exec "$h:web" -- sh -c 'exit 7'
    check "exec: the program's status" test "$status" = 7
    run exec "$h:web" -- sh -c 'kill -TERM $$'
    check "exec: 128 and the signal" test "$status" = 143
    run exec "$h:web" -- sh -c 'kill -PIPE $$; exit 3'
    check "exec: SIGPIPE has its default" test "$status" = 141
    fails "exec: no program" ENOENT exec "$h:web" -- "$scratch/no-such-program"
    fails "exec: no group" ENOENT exec "$h:nosuch" -- true
    run exec "$h:web" -- sh -c 'exec "$CGF" ps --pid $$'
    check "exec: it is in the group" grep -qx "$h:freezer,signal:/web" "$scratch/out"
    run exec "$h:web" -- echo "a  b" c
    check "exec: output and arguments" test "$out" = "a  b c"
    run exec --create --rm "$h:once" -- sh -c 'sleep 300 </dev/null >/dev/null 2>&1 & echo $!; exit 5'
    started+=("$out")
    check "exec --create --rm: status" test "$status" = 5
    check "exec --rm: what was left is dead" eventually gone "$out"
    fails "exec --rm: the group is gone" ENOENT state "$h:once"
    timeout --foreground 30 "$CGF" exec --create --rm "$h:killed" -- sh -c 'echo $PPID $$; exec sleep 300' >"$scratch/out" 2>&1 &
    eventually test -s "$scratch/out"
    read -r parent child <"$scratch/out"
    started+=("$child")
    kill -KILL "$parent"
    wait $! 2>/dev/null
    check "exec --rm, killed: its program is dead" eventually gone "$child"
    check "exec --rm, killed: the group is gone" eventually not cgf state "$h:killed"
    names+=("$h-once")
    works "exec --create --rm: a hierarchy of its own" exec --create --rm "$h-once:x/y" -- true
    cgf rm "$h-once:" -r 2>/dev/null
    works "exec --create: a group that exists" exec --create "$h:web" -- true
}

attaching() {
    sleeper
    local one=$pid
    works "attach" attach "$h:web" "$one"
    run ps --pid "$one"
    check "ps --pid" grep -qx "$h:freezer,signal:/web" "$scratch/out"
    run ps --pid "$one" --json
    check "ps --pid --json parses" is_json
    check "ps --pid --json" test \
        "$(json "[(g['subsystems'], g['path']) for g in j['groups'] if g['hierarchy'] == '$h']")" = "[(['freezer', 'signal'], '/web')]"
    run ps --pid $$
    check "ps --pid: never moved" grep -qx "$h:freezer,signal:/" "$scratch/out"
    fails "ps --pid: no process" ESRCH ps --pid 4194304
    fails "attach: no process" ESRCH attach "$h:web" 4194304
    run ps "$h:web"
    check "ps" grep -q "^ *$one [A-Z] sleep 300$" "$scratch/out"
    works "ps --json" ps "$h:web" --json
    check "ps --json parses" is_json
    check "ps --json has the process" test \
        "$(json "[(p['pid'], p['command'], p['arguments'][1]) for p in j['processes']]")" = "[($one, 'sleep', '300')]"
    works "ps -r" ps -r "$h:"
    check "ps -r names the group" grep -q "^ *$one [A-Z] $h:/web sleep 300$" "$scratch/out"
    works "ps: an empty root" ps "$h:"
    check "ps without -r stays in the group" test "$(wc -l <"$scratch/out")" = 1
    run get "$h:web" cgroup.procs
    check "get cgroup.procs" test "$out" = "$one"
    run get "$h:web" cgroup.procs --json
    check "get --json" test "$(json 'j["file"], j["text"]')" = "('cgroup.procs', '$one\\n')"
    fails "rm: processes" "--kill ends them" rm "$h:web"
    sleeper
    if [ "$backend" = cgroup1 ]; then
        works "attach --task" attach --task "$h:web" "$pid"
    else
        fails "attach --task: not here" EOPNOTSUPP attach --task "$h:web" "$pid"
    fi
}

freezing() {
    run state "$h:web"
    check "state: THAWED" test "$out" = THAWED
    works "freeze" freeze "$h:web" --deadline 2s
    check "freeze is silent" test -z "$out"
    run state "$h:web"
    check "state: FROZEN" test "$out" = FROZEN
    works "state --json" state "$h:web" --json
    check "state --json parses" is_json
    check "state --json: keys" test "$(json '" ".join(j)')" \
        = "hierarchy group backend directory state self_freezing parent_freezing frozen_usec"
    check "state --json: values" test "$(json 'j["backend"], j["state"], j["self_freezing"], j["parent_freezing"]')" \
        = "('$backend', 'FROZEN', True, False)"
    run get "$h:web" freezer.state
    check "get freezer.state" test "$out" = FROZEN
    works "freeze again" freeze "$h:web" --deadline 0
    sleeper
    fails "attach: frozen" "EBUSY" attach "$h:web" "$pid"
    works "attach --frozen" attach --frozen "$h:web" "$pid"
    fails "exec: frozen" "EBUSY" exec "$h:web" -- true
    works "thaw" thaw "$h:web"
    works "thaw again" thaw "$h:web"
    run state "$h:web"
    check "state: THAWED again" test "$out" = THAWED
    works "freeze --json" freeze "$h:web" --deadline none --json
    check "freeze --json parses" test "$(json 'j["state"], j["waited_ms"] >= 0')" = "('FROZEN', True)"
    works "freeze the root group" freeze "$h:"
    works "thaw below a frozen group" thaw "$h:web"
    run state "$h:web" --json
    check "state below a frozen group" test "$(json 'j["state"], j["self_freezing"], j["parent_freezing"]')" = "('FROZEN', False, True)"
    works "thaw the root group" thaw "$h:"
    works "set freezer.state FROZEN" set "$h:web" freezer.state FROZEN
    check "and it freezes" eventually state_is FROZEN
    works "set freezer.state THAWED" set "$h:web" freezer.state THAWED
    fails "set: not a state" EINVAL set "$h:web" freezer.state FREEZING
    fails "set: no file" ENOENT set "$h:web" no.such.file 1
    fails "set: cannot be written" EACCES set "$h:web" freezer.self_freezing 1
    fails "set: a negative number" EINVAL set "$h:web" signal.kill -1
    fails "get: no file" ENOENT get "$h:web" no.such.file
    fails "get: cannot be read" EACCES get "$h:web" signal.kill
    run exec "$h:web" -- "$CGF" freeze "$h:web"
    check "freeze: the caller is in it" one_line_with EDEADLK
}

state_is() { [ "$(cgf state "$h:web" 2>/dev/null)" = "$1" ]; }

freezing_by_pid() {
    sleeper
    works "create for --pid" create "$h:by-pid"
    works "attach for --pid" attach "$h:by-pid" "$pid"
    if [ "$backend" = embedded ]; then
        works "rm --kill for --pid" rm --kill "$h:by-pid"
        return
    fi
    works "freeze --pid" freeze --pid "$pid" --deadline 2s
    run state "$h:by-pid"
    check "its group is FROZEN" test "$out" = FROZEN
    works "state --pid" state --pid "$pid"
    works "thaw --pid" thaw --pid "$pid"
    run state "$h:by-pid"
    check "its group is THAWED" test "$out" = THAWED
    fails "freeze --pid: no process" ESRCH freeze --pid 4194304
    works "rm --kill" rm --kill "$h:by-pid"
}

getting_stuck() {
    mkdir -p "$fuse_mount"
    local pipe=$scratch/pipe server
    rm -f "$pipe"
    mkfifo "$pipe"
    exec {fuse_fd}<>"$pipe"
    timeout 60 "$CGF" __silent-fuse "$fuse_mount" <"$pipe" {fuse_fd}>&- >"$scratch/fuse.out" 2>"$scratch/fuse.err" &
    server=$!
    : >>"$scratch/fuse.out"
    started+=("$server")
    if ! eventually grep -qx ready "$scratch/fuse.out"; then
        exec {fuse_fd}>&-
        fuse_fd=
        skip "a freeze that cannot succeed" "$(head -n 1 "$scratch/fuse.err")"
        return
    fi
    works "create for the stuck" create "$h:stuck"
    cat "$fuse_mount/file" {fuse_fd}>&- >/dev/null 2>&1 &
    local cat=$!
    started+=("$cat")
    check "cat asks" eventually grep -qx "asked $cat" "$scratch/fuse.out"
    check "cat waits for an answer" eventually grep -q request_wait_answer "/proc/$cat/wchan"
    works "attach the stuck" attach "$h:stuck" "$cat"
    fails "freeze: stuck" "blocked by $cat (cat) D in request_wait_answer" freeze "$h:stuck" --deadline 200ms
    check "it says what to do" grep -q "cgf thaw $h:/stuck" "$scratch/err"
    run state "$h:stuck"
    check "it stays FREEZING" test "$out" = FREEZING
    works "thaw the stuck" thaw "$h:stuck"
    fails "freeze --rollback --json: stuck" EBUSY freeze "$h:stuck" --deadline 200ms --rollback --json
    check "the blocker in JSON" test "$(json '[(b["pid"], b["command"], b["state"], b["waits_in"]) for b in j["error"]["blockers"]]')" \
        = "[($cat, 'cat', 'D', 'request_wait_answer')]"
    run state "$h:stuck"
    check "rolled back" test "$out" = THAWED
    exec {fuse_fd}>&-
    fuse_fd=
    check "the server ends with its input" eventually gone "$server"
    check "and unmounts" not mountpoint -q "$fuse_mount"
    check "cat is let go" eventually gone "$cat"
    wait "$server" "$cat" 2>/dev/null
    works "rm the stuck" rm --kill "$h:stuck"
}

not() { ! "$@" >/dev/null 2>&1; }

# Ended, perhaps a zombie still.
gone() { ! [ -e "/proc/$1/stat" ] || grep -q ') Z ' "/proc/$1/stat" 2>/dev/null || ! [ -e "/proc/$1/stat" ]; }

killing() {
    sleeper
    works "attach for kill" attach "$h:web" "$pid"
    works "kill -s 0" kill -s 0 "$h:web" --json
    check "kill --json" test "$(json 'j["group"], j["signal"]')" = "('$h:/web', 0)"
    check "everybody lives" kill -0 "$pid"
    works "kill -s STOP" kill -s STOP "$h:web"
    works "kill -s cont" kill -s cont "$h:web"
    works "kill -s SIGTERM" kill -s SIGTERM "$h:web"
    check "TERM ended them" eventually empty
    sleeper
    works "attach for kill, again" attach "$h:web" "$pid"
    works "freeze for kill" freeze "$h:web"
    works "kill: frozen" kill "$h:web"
    check "KILL ended it" gone "$pid"
    run state "$h:web"
    check "the state stays" test "$out" = FROZEN
    works "thaw after kill" thaw "$h:web"
    sleeper
    works "attach for rm" attach "$h:web" "$pid"
    works "create below" create "$h:web/below"
    fails "rm: processes and groups" "--kill -r" rm "$h:web"
    works "rm --kill -r" rm --kill -r "$h:web"
    check "rm --kill ended it" gone "$pid"
}

empty() { [ -z "$(cgf get "$h:web" cgroup.procs 2>/dev/null)" ]; }

systems() {
    local h=$h-system
    names+=("$h")
    works "create in a system" -o "backend=$backend,state=$scratch/state" create "$h:x"
    works "state in a system" -o "backend=$backend,state=$scratch/state" state "$h:x"
    if [ "$backend" = embedded ]; then
        # Without state= it is another place.
        fails "state in no system" ENOENT state "$h:x"
    else
        fails "state in no system" "belongs to the system $scratch/state (EBUSY)" state "$h:x"
    fi
    works "rm in a system" -o "backend=$backend,state=$scratch/state" rm -r "$h:"
    works "create with one subsystem" -o "backend=$backend,freezer" create "$h:x"
    fails "signal is not bound" ENOENT set "$h:x" signal.kill 0
    fails "other subsystems" EBUSY -o "backend=$backend,signal" state "$h:x"
    works "rm with one subsystem" rm -r "$h:"
    fails "root=: no directory" ENOENT -o "root=$place/$h/none" state any:
}

adopting() {
    run -o "root=$place/$h" state any:web
    check "root=: a group below a directory" test "$out" = THAWED
    works "root=: create" -o "root=$place/$h" create any:adopted
    run state "$h:adopted"
    check "root=: it is there" test "$out" = THAWED
    works "root=: rm" -o "root=$place/$h" rm any:adopted
    works "root=: a group" -o "root=$place/$h/web" state any:
}

nobody_reads() {
    works "create many" create "$h:m/1" "$h:m/2" "$h:m/3"
    # The reader has gone before the first byte is written.
    { sleep 0.2; cgf ls "$h" 2>"$scratch/err"; echo $? >"$scratch/out"; } | :
    check "a closed pipe: status" test "$(cat "$scratch/out")" = 141
    check "a closed pipe: nothing said" test ! -s "$scratch/err"
    { sleep 0.2; cgf state "$h:nosuch" --json 2>"$scratch/err"; echo $? >"$scratch/out"; } | :
    check "a closed pipe and a failure" test "$(cat "$scratch/out")" = 1 -a "$(wc -l <"$scratch/err")" = 1
}

# Ctrl-C, or worse, in the middle of the demo.
demo_interrupted() {
    local demo
    timeout 30 "$CGF" demo >"$scratch/out" 2>"$scratch/err" &
    demo=$!
    eventually grep -q FREEZE "$scratch/out"
    local used
    used=$(grep -o 'demo-[0-9]*' "$scratch/out" | head -n 1)
    # The hierarchy is named after the process.
    [ -n "$used" ] && kill -KILL "${used#demo-}" 2>/dev/null
    wait "$demo" 2>/dev/null
    check "a killed demo leaves nothing" eventually not test -e "$place/${used:-.}"
}

watching() {
    local watcher
    fails "watch: no hierarchy" ENOENT watch "$h-nowhere:"
    works "watch --for" watch "$h:" --for 50ms
    check "watch says when it is ready" test "$out" = "watching $h"
    timeout --foreground 30 "$CGF" watch "$h:seen" --tasks --json >"$scratch/events" 2>&1 &
    fails "watch: no group" ENOENT watch "$h:seen"
    wait $! 2>/dev/null
    works "create" create "$h:seen"
    timeout --foreground 30 "$CGF" watch "$h:seen" --tasks --json >"$scratch/events" 2>&1 &
    watcher=$!
    started+=("$watcher")
    check "watch is ready" eventually grep -q '"watching"' "$scratch/events"
    works "create beside it" create "$h:unseen"
    sleeper
    works "attach to what is watched" attach "$h:seen" "$pid"
    check "watch: attached" eventually grep -q '"attached".*"pid":'"$pid" "$scratch/events"
    works "freeze what is watched" freeze "$h:seen"
    check "watch: frozen" eventually grep -q '"frozen"' "$scratch/events"
    works "thaw what is watched" thaw "$h:seen"
    check "watch: thawed" eventually grep -q '"thawed"' "$scratch/events"
    works "rm what is watched" rm "$h:seen" --kill
    check "watch: exit" eventually grep -q '"exit".*"pid":'"$pid"',"status":9' "$scratch/events"
    check "watch: removed" eventually grep -q '"removed"' "$scratch/events"
    kill "$watcher"
    wait "$watcher" 2>/dev/null
    check "watch: every line is JSON" python3 -c 'import json,sys
for line in open(sys.argv[1]): json.loads(line)' "$scratch/events"
    check "watch: only what is watched" not grep -q unseen "$scratch/events"
    works "rm beside it" rm "$h:unseen"
}

monitoring() {
    local monitor
    printf '#!/bin/sh\necho "$1" >>%s\n' "$scratch/released-$backend" >"$scratch/agent"
    chmod +x "$scratch/agent"
    fails "monitor: a group" EINVAL monitor "$h:x"
    works "set release_agent" set "$h:" release_agent "$scratch/agent"
    works "create" create "$h:told" "$h:gone"
    works "set notify_on_release" set "$h:told" notify_on_release 1
    works "set auto_delete" set "$h:gone" auto_delete 1
    works "exec, before the monitor" exec "$h:told" -- true
    timeout --foreground 30 "$CGF" monitor "$h:" --json >"$scratch/events" 2>&1 &
    monitor=$!
    started+=("$monitor")
    check "monitor: what was empty is told" eventually grep -qx /told "$scratch/released-$backend"
    works "exec, with the monitor" exec "$h:gone" -- true
    check "monitor: auto_delete" eventually grep -q '"released".*"frozen_usec"' "$scratch/events"
    fails "monitor: it is gone" ENOENT state "$h:gone"
    works "exec, again" exec "$h:told" -- true
    told_twice() { [ "$(wc -l <"$scratch/released-$backend")" = 2 ]; }
    check "monitor: told again" eventually told_twice
    kill "$monitor"
    wait "$monitor" 2>/dev/null
    works "rm" rm "$h:told"
    works "unset release_agent" set "$h:" release_agent ""
}

demonstrating() {
    run demo
    check "demo" test "$status" = 0 -a -z "$err"
    check "demo fits a screen" test "$(wc -l <"$scratch/out")" -le 24
    check "demo is 80 columns wide" not grep -q '.\{81\}' "$scratch/out"
    check "demo shows a freeze" grep -q FROZEN "$scratch/out"
    local used
    used=$(grep -o 'demo-[0-9]*' "$scratch/out" | head -n 1)
    run ls
    check "demo leaves no hierarchy" not grep -q "${used:-demo}" "$scratch/out"
    check "demo leaves no mount" not grep -q cgf-silent-"${used#demo-}" /proc/mounts
}

ending() {
    works "rm the hierarchy" rm "$h:" --kill -r
    fails "rm the hierarchy: it is gone" ENOENT rm "$h:"
    run ls
    check "nothing is listed" not grep -q "$h" "$scratch/out"
    check "nothing is left" test -z "$(find "$place" -maxdepth 1 -name "$h*" 2>/dev/null)"
}

# Everything, on one backend.
suite() {
    backend=$1
    unset CGF_OPTIONS
    run doctor --json
    local works reason
    works=$(json "[b['works'] for b in j['backends'] if b['backend'] == '$backend'][0]")
    reason=$(json "[b['reason'] for b in j['backends'] if b['backend'] == '$backend'][0]")
    place=$(json "[b['place'] for b in j['backends'] if b['backend'] == '$backend'][0]")
    if [ "$works" != True ]; then
        if [ "${CGF_DEMAND:-}" = 1 ]; then not_ok "$backend works here: $reason"; else skip "$backend" "$reason"; fi
        return
    fi
    echo "# $backend"
    export CGF_OPTIONS=backend=$backend
    h=sh-$$-$backend
    names+=("$h")
    does_not_exist
    creating
    executing
    attaching
    freezing
    freezing_by_pid
    adopting
    systems
    getting_stuck
    killing
    guarding
    checkpointing
    counting
    listing_files
    entering
    nobody_reads
    watching
    monitoring
    demonstrating
    demo_interrupted
    ending
    unset CGF_OPTIONS
}

usage
for backend in $backends; do suite "$backend"; done
echo "1..$count"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
