# shellcheck shell=bash
# Part of run.sh: cgf enter, cgf exec --namespaces, and the control files ns.… (R10.1, R10.2).

# The namespace of a process, as the control file shows it.
inode() { stat -L -c %i "/proc/$1/ns/$2"; }

entering() {
    local b=$h-apart first
    names+=("$b")
    fails "enter: not bound" EOPNOTSUPP enter "$h:" --namespaces net -- true
    fails "exec --namespaces: not bound" EOPNOTSUPP exec "$h:" --namespaces net -- true
    export CGF_OPTIONS=backend=$backend,freezer,signal,namespace
    works "create with namespace" create "$b:web"
    fails "create: a bare number" EINVAL create "$b:1234"
    fails "enter: the group is not bound" EINVAL enter "$b:web" --namespaces net -- true
    works "set ns.types" set "$b:web" ns.types uts,net
    run get "$b:web" ns.types
    check "the kinds are sorted" says net,uts
    run get "$b:web" ns.net
    check "nobody has joined" says none
    fails "enter: nobody is there" ESRCH enter "$b:web" --namespaces net -- true
    fails "set: no kind" EINVAL set "$b:web" ns.types network

    "$CGF" exec "$b:web" --namespaces net,uts -- sleep 300 </dev/null >/dev/null 2>&1 &
    started+=("$!")
    disown "$!"
    in_it() { [ -n "$(cgf get "$b:web" cgroup.procs 2>/dev/null)" ]; }
    check "exec --namespaces: it is in the group" eventually in_it
    first=$(cgf get "$b:web" cgroup.procs)
    check "it is the program itself" eventually grep -qx sleep "/proc/$first/comm"
    check "with namespaces of its own" test "$(inode "$first" net)" != "$(inode self net)"
    run get "$b:web" ns.net
    check "ns.net shows it" says "$(inode "$first" net)"
    run get "$b:web" ns.ipc
    check "of other kinds it shows none" says none
    fails "set ns.types: in use" EBUSY set "$b:web" ns.types net

    run enter "$b:web" --namespaces net -- stat -L -c %i /proc/self/ns/net /proc/self/ns/uts
    check "enter: this kind" test "$(sed -n 1p "$scratch/out")" = "$(inode "$first" net)"
    check "enter: and no other" test "$(sed -n 2p "$scratch/out")" = "$(inode self uts)"
    # shellcheck disable=SC2016 # The command's own shell expands it.
    run enter "$b:web" --namespaces net -- sh -c '"$CGF" ps --pid $$; exit 7'
    check "enter: the status is the command's" test "$status" = 7
    check "enter: the group is not entered" not grep -q "$b:.*:/web" "$scratch/out"
    run enter "$b:web" --namespaces net,uts -- echo "a  b" c
    check "enter: output and arguments" says "a  b c"
    fails "enter: no such command" "No such file" enter "$b:web" --namespaces net -- /no/such/program
    fails "enter: a kind that is not bound" EINVAL enter "$b:web" --namespaces net,ipc -- true
    fails "enter: no group" ENOENT enter "$b:nosuch" --namespaces net -- true
    misused "enter: no kinds" enter "$b:web" -- true
    misused "enter: an unknown kind" enter "$b:web" --namespaces network -- true
    misused "enter: no command" enter "$b:web" --namespaces net

    sleeper
    fails "attach: other namespaces" EPERM attach "$b:web" "$pid"
    check "the error names both" grep -q "$(inode "$first" net)" "$scratch/err"
    fails "exec: other namespaces" EPERM exec "$b:web" -- true
    works "exec --namespaces: joins" exec "$b:web" --namespaces net,uts -- true
    fails "exec --namespaces: pid" EINVAL exec "$b:web" --namespaces pid -- true
    kill -KILL "$first"
    left() { [ -z "$(cgf get "$b:web" cgroup.procs 2>/dev/null)" ]; }
    check "the first has gone" eventually left
    run get "$b:web" ns.net
    check "nothing is shown any more" says none
    works "attach: the first again" attach "$b:web" "$pid"
    run get "$b:web" ns.net
    check "ns.net shows the next" says "$(inode "$pid" net)"
    works "rm the hierarchy with namespace" rm --kill -r "$b:"
    export CGF_OPTIONS=backend=$backend
}
