/* R2.1, R2.3, R2.4: what is running already comes in, by number and by pidfd. */
#include <sys/syscall.h>

#include "t.h"

static pid_t outside(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		/* The parent's end is ours. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static int pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	CHECK(fd >= 0);
	return fd;
}

static void check_only(const struct cgf_group *group, pid_t expected)
{
	pid_t pid = 0;

	CHECK(OK(cgf_procs(group, &pid, 1, &err)) == 1);
	CHECK(pid == expected);
}

int main(int argc, char *argv[])
{
	struct cgf_group *first, *second;
	pid_t pid, gone;
	int fd, result;

	(void)argc;
	T_BEGIN();
	first = t_group("first");
	second = t_group("second");
	pid = outside();
	OK(cgf_attach(first, pid, &err));
	check_only(first, pid);
	OK(cgf_attach(first, pid, &err));
	OK(cgf_attach_with(second, pid, 0, &err));
	CHECK(OK(cgf_procs(first, NULL, 0, &err)) == 0);
	check_only(second, pid);
	fd = pidfd_of(pid);
	OK(cgf_attach_pidfd(first, fd, 0, &err));
	CHECK(fcntl(fd, F_GETFD) >= 0);
	close(fd);
	check_only(first, pid);

	result = cgf_attach_task(second, pid, &err);
	if (t_is("cgroup1"))
		OK(result);
	else if (t_is("cgroup2"))
		FAILS(EOPNOTSUPP, result);
	else
		CHECK(result == 0 || result == -EOPNOTSUPP);
	cgf_error_free(err);
	err = NULL;
	OK(cgf_attach(first, pid, &err));

	OK(cgf_freeze(second, 5000, 0, &err));
	FAILS(EBUSY, cgf_attach(second, pid, &err));
	check_only(first, pid);
	OK(cgf_attach_with(second, pid, CGF_ATTACH_FROZEN, &err));
	t_await_state(second, CGF_FROZEN);
	check_only(second, pid);
	OK(cgf_thaw(second, &err));

	gone = outside();
	fd = pidfd_of(gone);
	CHECK(!kill(gone, SIGKILL));
	t_reap_killed(gone);
	FAILS(ESRCH, cgf_attach(first, gone, &err));
	FAILS(ESRCH, cgf_attach_task(first, gone, &err));
	FAILS(ESRCH, cgf_attach_pidfd(first, fd, 0, &err));
	close(fd);
	FAILS(EBADF, cgf_attach_pidfd(first, -1, 0, &err));
	FAILS(EBADF, cgf_attach_pidfd(first, 987, 0, &err));
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	FAILS(EBADF, cgf_attach_pidfd(first, fd, 0, &err));
	close(fd);
	FAILS(EINVAL, cgf_attach(first, -1, &err));
	FAILS(EINVAL, cgf_attach_task(first, -1, &err));

	OK(cgf_group_remove(first, 0, &err));
	FAILS(ENODEV, cgf_attach(first, pid, &err));
	cgf_group_free(first);
	t_remove(second);
	t_reap_killed(pid);
	return T_END();
}
