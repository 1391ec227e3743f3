# shellcheck shell=bash
# Part of run.sh: cgf files (R1.8).

listing_files() {
    local f=$h-files
    names+=("$f")
    works "files" files
    check "files: one a line, and what it is" grep -Eq '^freezer.state +rw +What the tasks of the group do' "$scratch/out"
    check "files: those of subsystems that are not bound" grep -Eq '^bc.RESOURCE.held +r-' "$scratch/out"
    works "files --json" files --json
    check "files --json: the core's have no subsystem" test \
        "$(json "[f['subsystem'] for f in j['files'] if f['name'] == 'tasks']")" = "[None]"
    check "files --json: errors" test \
        "$(json "['EDEADLK' in f['errors'] for f in j['files'] if f['name'] == 'freezer.state']")" = "[True]"
    works "create for files" create "$f:web"
    works "files of a group" files "$f:web"
    check "files of a group: the core's and its subsystems'" test "$(tr '\n' ' ' <"$scratch/out")" = \
        "auto_delete cgroup.procs freezer.frozen_usec freezer.parent_freezing freezer.self_freezing freezer.state notify_on_release signal.kill tasks "
    works "files of the root" files "$f:"
    check "files of the root: release_agent, too" grep -qx release_agent "$scratch/out"
    works "files of a group --json" files "$f:web" --json
    check "files of a group --json: its name" test "$(json "j['group']")" = "$f:/web"
    fails "files: no such group" ENOENT files "$f:none"
    works "rm what had files" rm "$f:web"
    works "rm the hierarchy that had files" rm "$f:"
}
