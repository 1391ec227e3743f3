/* R1.5: a program that cannot start is an error of the call, and leaves nothing. */
#include "t.h"

static void refused(int expected, struct cgf_group *group, const char *file)
{
	/* A directory in PATH that is closed to us would be another errno. */
	char *argv[] = { "program", NULL }, *envp[] = { "PATH=/usr/bin:/bin", NULL };
	pid_t pid = 7;

	FAILS(expected, cgf_spawn(group, file, argv, envp, &pid, &err));
	CHECK(pid == 7);
}

int main(int argc, char *argv[])
{
	static const char garbage[] = "\x01 no program\n";
	char file[] = "/tmp/cgf-test-XXXXXX";
	char *const none[] = { NULL }, *const arguments[] = { "true", NULL };
	char *const bad[] = { "A=1", "nothing", NULL }, *const no_path[] = { "PATH=/nowhere", NULL };
	struct cgf_group *group, *removed;
	pid_t pid = 7, sleeper;
	int fd;

	(void)argc;
	T_BEGIN();
	group = t_group("g");
	refused(ENOENT, group, "/no/such/program");
	refused(ENOENT, group, "no-such-program-anywhere");
	refused(ENOENT, group, "");
	refused(EACCES, group, "/");
	refused(EACCES, group, "/etc/passwd");
	refused(ENOTDIR, group, "/etc/passwd/x");
	fd = mkstemp(file);
	CHECK(fd >= 0 && write(fd, garbage, sizeof(garbage) - 1) > 0 && !fchmod(fd, 0755) && !close(fd));
	refused(ENOEXEC, group, file);
	CHECK(!unlink(file));

	FAILS(EINVAL, cgf_spawn(group, "true", none, NULL, &pid, &err));
	FAILS(EINVAL, cgf_spawn(group, "true", arguments, bad, &pid, &err));
	FAILS(ENOENT, cgf_spawn(group, "true", arguments, no_path, &pid, &err));
	sleeper = t_sleeper(group);
	OK(cgf_freeze(group, 5000, 0, &err));
	FAILS(EBUSY, cgf_spawn(group, "true", arguments, NULL, &pid, &err));
	OK(cgf_thaw(group, &err));
	CHECK(pid == 7);
	CHECK(OK(cgf_procs(group, &pid, 1, &err)) == 1 && pid == sleeper);

	removed = t_group("removed");
	OK(cgf_group_remove(removed, 0, &err));
	FAILS(ENODEV, cgf_spawn(removed, "true", arguments, NULL, &pid, &err));
	cgf_group_free(removed);

	t_remove(group);
	t_reap_killed(sleeper);
	return T_END();
}
