"""Subsystems among threads, in forked children and at the end of the interpreter (R1.6)."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable

import cgf
from conftest import Backend, clear


def run_python(script: str, *arguments: str) -> str:
    """In a process of its own, which says where its threads are if they hang."""
    script = "import faulthandler; faulthandler.dump_traceback_later(30, exit=True)\n" + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    assert done.stderr == ""
    return done.stdout


def test_threads(backend: Backend, unique_name: str) -> None:
    """Callbacks that wait for each other's threads and call the library, in all that may run them."""
    output = run_python(
        """
        import subprocess, sys, threading, time
        import cgf
        sys.setswitchinterval(1e-4)

        class Busy(cgf.Subsystem):
            name = "busy"
            calls = 0

            def look(self, group):
                time.sleep(0)
                group.procs() if group.path in jobs.groups() else None
                Busy.calls += 1

            create = destroy = look

            def can_attach(self, attach): self.look(attach.group)
            can_attach_task = lambda self, attach, tid: self.look(attach.group)
            pre_attach = cancel_attach = attach = can_attach
            attach_task = can_attach_task

            def read(self, group):
                self.look(group)
                return group.path + "\\n"

            def files(self):
                return [cgf.ControlFile("path", self.read, lambda group, text: self.look(group))]

        cgf.register(Busy())
        jobs = cgf.Hierarchy(sys.argv[1], ["freezer", "signal", "busy"], sys.argv[2])

        # Two threads, each in a callback until the other is: none holds anything that the other needs.
        both = threading.Barrier(2, timeout=10)
        class Both(cgf.Subsystem):
            name = "both"
            def create(self, group): both.wait()
        cgf.register(Both())
        meeting = cgf.Hierarchy(sys.argv[1] + "-both", ["both"], sys.argv[2])
        meet = [threading.Thread(target=meeting.create, args=(name,)) for name in "ab"]
        [thread.start() for thread in meet]
        [thread.join() for thread in meet]
        assert meeting.groups() == ["/a", "/b"]
        [meeting.open(path).remove() for path in meeting.groups()]
        meeting.unmount()

        failed = []
        def work(name):
            try:
                for _ in range(4):
                    group = jobs.create(name)
                    process = group.spawn(["sleep", "60"])
                    with subprocess.Popen(["sleep", "60"]) as outsider:
                        group.attach(outsider.pid)
                        assert group["busy.path"] == "/" + name
                        group["busy.path"] = ""
                        jobs.clone("below", outsider.pid)
                        group.remove(kill=True, recursive=True)
                    process.wait()
            except BaseException as error:
                failed.append(repr(error))
        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not failed, failed
        jobs.unmount()
        print(Busy.calls > 100)
        """,
        unique_name,
        backend,
    )
    assert output == "True\n"


def test_other_threads_run_meanwhile(group: cgf.Group, hierarchy: cgf.Hierarchy) -> None:
    """A call releases the interpreter, which nobody else takes from it within a minute."""
    beats = 0
    stop = False

    def beat() -> None:
        nonlocal beats
        while not stop:
            beats += 1
            time.sleep(0.0001)

    uses: list[Callable[[], object]] = [
        lambda: hierarchy.create("other").remove(),
        lambda: group.read("freezer.state"),
        lambda: group.write("freezer.state", "THAWED"),
        lambda: cgf.Hierarchy(hierarchy.name, backend=hierarchy.backend),
    ]
    interval = sys.getswitchinterval()
    thread = threading.Thread(target=beat)
    thread.start()
    sys.setswitchinterval(60)
    try:
        for use in uses:
            before = beats
            for _ in range(200):
                use()
            assert beats > before
    finally:
        stop = True
        sys.setswitchinterval(interval)
        thread.join()


def test_callbacks_in_a_forked_child(backend: Backend, unique_name: str) -> None:
    """The child opens the hierarchy again, and the subsystem is called there."""
    output = run_python(
        """
        import errno, os, sys
        import cgf

        class Counting(cgf.Subsystem):
            name = "counting"
            created = []
            def create(self, group):
                self.created.append(group.path)
                if group.path == "/forks":
                    self.child = os.fork()

        cgf.register(counting := Counting())
        open = lambda: cgf.Hierarchy(sys.argv[1], ["freezer", "signal", "counting"], sys.argv[2])
        jobs = open()
        jobs.create("parent")
        child = os.fork()
        if child == 0:
            open().create("child")
            print(Counting.created, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(Counting.created, flush=True)

        # A child that is made in a callback leaves it as its parent does.
        try:
            jobs.create("forks")
        except cgf.ForkedHandle:
            assert counting.child == 0
        if counting.child == 0:
            os._exit(0)
        assert os.waitpid(counting.child, 0)[1] == 0
        for path in jobs.groups():
            jobs.open(path).remove()
        jobs.unmount()
        """,
        unique_name,
        backend,
    )
    assert output == "['/parent', '/child']\n['/parent']\n"


def test_the_end_of_the_interpreter(backend: Backend, unique_name: str) -> None:
    """Threads that are in callbacks, and in the library, when it ends; and handles that go last."""
    run_python(
        """
        import sys, threading, time
        import cgf

        class Slow(cgf.Subsystem):
            name = "slow"
            def create(self, group):
                time.sleep(0.001)
            def destroy(self, group):
                time.sleep(0.001)

        cgf.register(Slow())
        jobs = cgf.Hierarchy(sys.argv[1], ["slow"], sys.argv[2])
        def work(name):
            while True:
                jobs.create(name).remove()
        for n in range(4):
            threading.Thread(target=work, args=(f"t{n}",), daemon=True).start()
        time.sleep(0.2)

        class Last:
            def __del__(self, jobs=jobs):
                try:
                    jobs.create("last").remove()
                except cgf.CgfError:
                    pass
        last = Last()
        last.me = last
        """,
        unique_name,
        backend,
    )
    # What the threads could not take away again.
    left = cgf.Hierarchy(unique_name, backend=backend)
    clear(left)
    left.unmount()
