# shellcheck shell=bash
# Part of run.sh: cgf checkpoint and cgf restore (R4.1-R4.6).

# The line that a counter keeps in its file: who it is, and how far.
counted() { cat "$scratch/$backend-files/first" 2>/dev/null; }

counts_on() { [ "$(counted)" != "$1" ] && [ "${1%% *}" = "$(counted | cut -d ' ' -f 1)" ]; }

says() { [ "$out" = "$1" ]; }

guarding() {
    local raw
    cgf create "$h:guard"
    somebody_in "$h:guard"
    # shellcheck disable=SC2016 # The command's own shell expands it.
    works "checkpoint -- COMMAND" checkpoint "$h:guard" -- sh -c '"$CGF" state "$1"' - "$h:guard"
    check "the group is held meanwhile" says CHECKPOINTING
    run state "$h:guard"
    check "and THAWED after, as before" says THAWED
    # shellcheck disable=SC2016
    run checkpoint "$h:guard" -- sh -c '"$CGF" thaw "$1" || exit 5' - "$h:guard"
    check "nobody thaws it meanwhile" test "$status" = 5 -a "${err/EBUSY/}" != "$err"
    # shellcheck disable=SC2016
    run checkpoint "$h:guard" -- sh -c '"$CGF" kill "$1" 2>/dev/null; exit 7' - "$h:guard"
    check "the status is the command's" test "$status" = 7
    works "freeze for a checkpoint" freeze "$h:guard"
    works "checkpoint of a frozen group" checkpoint "$h:guard" -- true
    run state "$h:guard"
    check "it is FROZEN after, as before" says FROZEN
    works "thaw" thaw "$h:guard"
    fails "checkpoint: no such command" "No such file" checkpoint "$h:guard" -- /no/such/program
    run state "$h:guard"
    check "and THAWED after that" says THAWED
    # shellcheck disable=SC2016
    fails "checkpoint --break ends it" ESTALE checkpoint "$h:guard" -- sh -c '"$CGF" checkpoint --break "$1"' - "$h:guard"
    fails "checkpoint --break: nothing to break" ENOENT checkpoint --break "$h:guard"
    raw=$(raw_thaw "$h:guard")
    if [ -n "$raw" ]; then
        fails "a task that ran is told" ESTALE checkpoint "$h:guard" -- sh -c "$raw; sleep 0.2"
        works "and is the tool's own affair with --external" checkpoint "$h:guard" --external -- sh -c "$raw; sleep 0.1"
    fi
    fails "checkpoint: a root outside" EXDEV checkpoint "$h:guard" --root $$ -- true
    fails "checkpoint: no root" ESRCH checkpoint "$h:guard" --root 999999999 -- true
    works "rm the guarded group" rm "$h:guard" --kill
}

# Somebody in a group who runs now and then.
somebody_in() {
    timeout --foreground 120 "$CGF" exec "$1" -- \
        python3 -c 'while True: __import__("time").sleep(0.01)' </dev/null >/dev/null 2>&1 &
    started+=("$!")
    eventually populated "$1"
}

populated() { [ -n "$(cgf get "$1" cgroup.procs 2>/dev/null)" ]; }

# The command by which somebody who knows nothing of us lets a group go.
raw_thaw() {
    local directory
    directory=$(cgf state "$1" --json | sed -n 's/.*"directory":"\([^"]*\)".*/\1/p')
    case $backend in
    cgroup2) echo "echo 0 >$directory/${1#*:}/cgroup.freeze" ;;
    cgroup1) echo "echo THAWED >$directory/${1#*:}/freezer.state" ;;
    esac
}

checkpointing() {
    local images=$scratch/$backend-images before
    if [ ! -x "${CGF_CRIU:-}" ] || [ ! -x "${CGF_COUNTER:-}" ]; then
        if [ "${CGF_DEMAND:-}" = 1 ]; then not_ok "CGF_CRIU and CGF_COUNTER name programs"; else skip "CRIU" "CGF_CRIU names no program"; fi
        return
    fi
    cgf create "$h:criu"
    mkdir -p "$scratch/$backend-files"
    # A session of its own and no terminal: nothing that CRIU could not make again.
    timeout --foreground 120 "$CGF" exec "$h:criu" -- "$CGF_COUNTER" alone "$scratch/$backend-files" </dev/null >/dev/null 2>&1 &
    waiter=$!
    started+=("$waiter")
    check "a counter counts" eventually test -s "$scratch/$backend-files/first"
    root=$(cgf get "$h:criu" cgroup.procs)
    # Only embedded begins a session; elsewhere it is in that of this script.
    local job=(--criu-arg=--shell-job)

    works "checkpoint --leave-frozen" checkpoint "$h:criu" --images "$images-frozen" --leave-frozen "${job[@]}"
    run state "$h:criu"
    check "it is left FROZEN" says FROZEN
    works "thaw it" thaw "$h:criu"
    works "checkpoint --leave-running" checkpoint "$h:criu" --images "$images-running" --leave-running "${job[@]}"
    run state "$h:criu"
    check "it is left running" says THAWED
    before=$(counted)
    check "and counts" eventually counts_on "$before"
    fails "checkpoint: the directory is there" EEXIST checkpoint "$h:criu" --images "$images-running" "${job[@]}"
    fails "checkpoint: no CRIU" ENOENT checkpoint "$h:criu" --images "$images" --criu "$scratch/no-criu"
    fails "checkpoint: CRIU fails" "CRIU failed" checkpoint "$h:criu" --images "$images" --criu-arg=--no-such-option
    check "and leaves no directory" test -z "$(find "$scratch" -maxdepth 1 -name "*$backend-images" -o -maxdepth 1 -name '*.cgf-*')"
    fails "checkpoint: no time" "(E" checkpoint "$h:criu" --images "$images" --deadline 0
    run state "$h:criu"
    check "the group is THAWED after all that" says THAWED
    check "and is not asked to freeze" not grep -q 1 <(cgf get "$h:criu" freezer.self_freezing)

    works "checkpoint" checkpoint "$h:criu" --images "$images" "${job[@]}" --deadline 20s
    check "checkpoint is silent" test -z "$out"
    wait "$waiter" 2>/dev/null
    run state "$h:criu"
    check "the group is there, THAWED" says THAWED
    check "and empty" not populated "$h:criu"
    before=$(counted)
    fails "restore: no images" ENOENT restore "$h:criu" --images "$scratch"
    works "restore" restore "$h:criu" --images "$images" --criu-arg=--shell-job
    check "restore prints the process" says "$root"
    check "it counts on from where it was" eventually counts_on "$before"
    run get "$h:criu" cgroup.procs
    check "and is in the group" says "$root"
    fails "restore: the group is not empty" EBUSY restore "$h:criu" --images "$images"
    works "rm it" rm "$h:criu" --kill
    rm -rf "$images"*
}
