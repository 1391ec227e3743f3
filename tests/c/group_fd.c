/* A runtime's own clone3 can put a child into the group. */
#include <linux/sched.h>
#include <sys/syscall.h>

#include "t.h"

int main(int argc, char *argv[])
{
	struct clone_args arguments = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
	struct cgf_group *group;
	pid_t pid, listed = 0;
	int fd;

	(void)argc;
	T_BEGIN();
	group = t_group("g");
	fd = (int)OK(cgf_group_fd(group, &err));
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(fcntl(fd, F_GETFL) & O_PATH);
	if (t_is("cgroup2")) {
		arguments.cgroup = (uint64_t)fd;
		pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
		if (pid < 0 && errno == ENOSYS)
			SKIP("no clone3 here");
		CHECK(pid >= 0);
		if (!pid)
			for (;;)
				pause();
		CHECK(OK(cgf_procs(group, &listed, 1, &err)) == 1 && listed == pid);
		OK(cgf_kill(group, SIGKILL, &err));
		t_reap_killed(pid);
	}
	close(fd);
	t_remove(group);
	return T_END();
}
