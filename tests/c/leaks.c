/* Nothing is left of calls that succeed, or of calls that fail, many times over. */
#include "t.h"

static void round_trip(void)
{
	struct cgf_spawn_options options = { .size = sizeof(options) };
	char *argv[] = { "true", NULL };
	struct cgf_hierarchy *h = t_open("");
	struct cgf_group *group = t_group("a/b"), *same, *none;
	struct cgf_hold *hold;
	char text[256];
	pid_t pid, sleeper;
	int pidfd, fd;

	options.pidfd = &pidfd;
	OK(cgf_group_open(h, "a/b", &same, &err));
	OK(cgf_spawn_with(group, "true", argv, NULL, &options, &pid, &err));
	close(pidfd);
	CHECK(t_wait(pid) == 0);
	FAILS(ENOENT, cgf_spawn_with(group, "/no/such/program", argv, NULL, &options, &pid, &err));
	sleeper = t_sleeper(group);
	OK(cgf_hold(group, 5000, 0, &hold, &err));
	OK(cgf_hold_release(hold, &err));
	OK(cgf_freeze(group, 5000, 0, &err));
	FAILS(EBUSY, cgf_spawn(group, "true", argv, NULL, &pid, &err));
	OK(cgf_thaw(same, &err));
	OK(cgf_read(group, "freezer.state", text, sizeof(text), &err));
	FAILS(ENOENT, cgf_read(group, "none", text, sizeof(text), &err));
	fd = (int)OK(cgf_group_fd(group, &err));
	close(fd);
	FAILS(EEXIST, cgf_group_create(h, "a/b", &none, &err));
	FAILS(ENOENT, cgf_group_open(h, "c", &none, &err));
	FAILS(ESRCH, cgf_attach(group, 0x3fffffff, &err));
	FAILS(EBUSY, cgf_group_remove(group, 0, &err));
	cgf_group_free(same);
	t_remove(group);
	t_reap_killed(sleeper);
	OK(cgf_group_open(h, "a", &group, &err));
	t_remove(group);
	cgf_hierarchy_free(h);
}

int main(int argc, char *argv[])
{
	const char *few = getenv("CGF_FEW");
	int rounds = few ? 3 : 20, before;

	(void)argc;
	T_BEGIN();
	round_trip();
	before = t_open_fds();
	for (int i = 0; i < rounds; i++)
		round_trip();
	CHECK(t_open_fds() == before);
	return T_END();
}
