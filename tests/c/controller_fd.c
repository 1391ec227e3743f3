/* R1.6, R1.14: a controller works by the kernel's own, in whichever tree that is. */
#include "t.h"

static pid_t inside(int directory)
{
	int fd = openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t length;

	CHECK(fd >= 0);
	length = read(fd, text, sizeof(text) - 1);
	CHECK(length >= 0);
	text[length] = 0;
	close(fd);
	return atoi(text);
}

int main(int argc, char *argv[])
{
	struct cgf_subsystem s = { .size = sizeof(s), .name = "counted", .controllers = "pids,no_such" };
	struct cgf_group *group;
	pid_t pid;
	int fd;

	(void)argc;
	OK(cgf_subsystem_register(&s, &err));
	T_BEGIN_WITH(",signal,counted");
	group = t_group("g");
	FAILS(ENODEV, cgf_controller_fd(group, "no_such", &err));
	FAILS(ENODEV, cgf_controller_fd(group, "", &err));
	FAILS(ENODEV, cgf_controller_fd(group, "\xff", &err));
	fd = cgf_controller_fd(group, "pids", &err);
	if (t_is("embedded"))
		FAILS(ENODEV, fd);
	if (fd >= 0) {
		CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && (fcntl(fd, F_GETFL) & O_PATH));
		CHECK(!faccessat(fd, "pids.max", F_OK, 0));
		CHECK(inside(fd) == 0);
		pid = t_outside();
		OK(cgf_attach(group, pid, &err));
		CHECK(inside(fd) == pid);
		t_end_outside(pid);
		close(fd);
	} else if (err) {
		/* A kernel, or a delegation, without it. */
		FAILS(ENODEV, fd);
	}
	OK(cgf_group_remove(group, 0, &err));
	FAILS(ENODEV, cgf_controller_fd(group, "pids", &err));
	cgf_group_free(group);
	OK(cgf_subsystem_unregister("counted", &err));
	return T_END();
}
