/* Shares in a freeze: the last one out thaws, unless it was frozen before. */
#include "t.h"

static struct cgf_hold *hold(struct cgf_group *group)
{
	struct cgf_hold *hold = NULL;

	OK(cgf_hold(group, 5000, 0, &hold, &err));
	CHECK(hold);
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	return hold;
}

int main(int argc, char *argv[])
{
	struct cgf_group *group;
	struct cgf_hold *first, *second;
	pid_t sleeper, child;
	int ends[2];
	char byte;

	(void)argc;
	T_BEGIN();
	group = t_group("g");
	sleeper = t_sleeper(group);

	first = hold(group);
	second = hold(group);
	OK(cgf_hold_release(first, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	OK(cgf_hold_release(second, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_THAWED);

	OK(cgf_freeze(group, 5000, 0, &err));
	first = hold(group);
	OK(cgf_hold_release(first, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	OK(cgf_thaw(group, &err));

	/* Another process's share counts too, and goes with it. */
	CHECK(!pipe2(ends, O_CLOEXEC));
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		struct cgf_hierarchy *own = t_open("");
		struct cgf_group *same;

		OK(cgf_group_open(own, "g", &same, &err));
		hold(same);
		CHECK(write(ends[1], "x", 1) == 1);
		pause();
		_exit(1);
	}
	CHECK(read(ends[0], &byte, 1) == 1);
	first = hold(group);
	OK(cgf_hold_release(first, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	first = hold(group);
	CHECK(!kill(child, SIGKILL));
	t_reap_killed(child);
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	OK(cgf_hold_release(first, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_THAWED);
	close(ends[0]);
	close(ends[1]);

	t_remove(group);
	t_reap_killed(sleeper);
	return T_END();
}
