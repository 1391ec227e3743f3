/* R1.8: control files, whole or cut, and what they refuse. */
#include "t.h"

static struct cgf_group *group;

static void check(const char *file, const char *expected)
{
	char text[4096];

	CHECK(OK(cgf_read(group, file, text, sizeof(text), &err)) == (long)strlen(expected));
	if (strcmp(text, expected))
		t_fail(__FILE__, __LINE__, "%s: not \"%s\" but \"%s\"", file, expected, text);
}

int main(int argc, char *argv[])
{
	static const char *const files[] = { "tasks", "cgroup.procs", "freezer.state", "freezer.self_freezing",
					     "freezer.parent_freezing" };
	char buffer[16], text[64], *long_text = malloc(8192);
	pid_t sleeper;

	(void)argc;
	T_BEGIN();
	group = t_group("g");
	check("freezer.state", "THAWED\n");
	check("cgroup.procs", "");
	sleeper = t_sleeper(group);
	snprintf(text, sizeof(text), "%d\n", (int)sleeper);
	check("cgroup.procs", text);
	check("tasks", text);

	/* As readlink(2), and a NUL where there is room. */
	for (size_t cap = 0; cap <= 9; cap++) {
		memset(buffer, '#', sizeof(buffer));
		CHECK(OK(cgf_read(group, "freezer.state", cap ? buffer : NULL, cap, &err)) == 7);
		CHECK(!memcmp(buffer, "THAWED\n", cap < 7 ? cap : 7));
		CHECK(buffer[7] == (cap > 7 ? 0 : '#'));
		CHECK(cap > 7 || buffer[cap] == '#');
		CHECK(buffer[8] == '#');
	}

	/* Asks and does not wait. */
	OK(cgf_write(group, "freezer.state", "FROZEN\n", &err));
	t_await_state(group, CGF_FROZEN);
	check("freezer.state", "FROZEN\n");
	check("freezer.self_freezing", "1\n");
	check("freezer.parent_freezing", "0\n");
	FAILS(EINVAL, cgf_write(group, "freezer.state", "FREEZING", &err));
	FAILS(EINVAL, cgf_write(group, "freezer.state", "CHECKPOINTING", &err));
	FAILS(EINVAL, cgf_write(group, "freezer.state", "", &err));
	FAILS(EINVAL, cgf_write(group, "freezer.state", "\xff", &err));
	check("freezer.state", "FROZEN\n");
	OK(cgf_write(group, "freezer.state", "RUNNING", &err));
	check("freezer.state", "THAWED\n");

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		CHECK(OK(cgf_read(group, files[i], NULL, 0, &err)) >= 0);
	FAILS(ENOENT, cgf_read(group, "no.such", buffer, sizeof(buffer), &err));
	FAILS(ENOENT, cgf_read(group, "\xff", buffer, sizeof(buffer), &err));
	FAILS(ENOENT, cgf_read(group, "../g/tasks", buffer, sizeof(buffer), &err));
	FAILS(ENOENT, cgf_write(group, "", "1", &err));
	FAILS(EACCES, cgf_read(group, "signal.kill", buffer, sizeof(buffer), &err));
	FAILS(EACCES, cgf_write(group, "freezer.self_freezing", "0", &err));
	FAILS(EINVAL, cgf_write(group, "cgroup.procs", "many", &err));
	FAILS(EINVAL, cgf_write(group, "signal.kill", "9 9", &err));
	memset(long_text, ' ', 8191);
	long_text[8191] = 0;
	FAILS(E2BIG, cgf_write(group, "cgroup.procs", long_text, &err));
	free(long_text);

	OK(cgf_write(group, "signal.kill", "9\n", &err));
	t_reap_killed(sleeper);
	t_remove(group);
	return T_END();
}
