/* R1.9: lists are sorted, cut where the room ends, and counted whole. */
#include "t.h"

enum { COUNT = 5 };

typedef ssize_t list(const struct cgf_group *g, pid_t *buf, size_t cap, struct cgf_error **err);

static void check(list *list, const struct cgf_group *group, const pid_t pids[])
{
	for (int cap = 0; cap <= COUNT + 1; cap++) {
		pid_t buf[COUNT + 2];

		memset(buf, 0x55, sizeof(buf));
		CHECK(OK(list(group, buf, (size_t)cap, &err)) == COUNT);
		for (int i = 0; i < COUNT + 2; i++) {
			if (i >= cap || i >= COUNT)
				CHECK(buf[i] == 0x55555555);
			else if (i > 0)
				CHECK(buf[i - 1] < buf[i]);
		}
		for (int i = 0; i < COUNT && cap >= COUNT; i++) {
			int found = 0;

			for (int k = 0; k < COUNT; k++)
				found += buf[k] == pids[i];
			CHECK(found == 1);
		}
	}
	CHECK(OK(list(group, NULL, 0, &err)) == COUNT);
}

int main(int argc, char *argv[])
{
	struct cgf_group *group, *below;
	pid_t pids[COUNT], inner;

	(void)argc;
	T_BEGIN();
	group = t_group("g");
	below = t_group("g/below");
	inner = t_sleeper(below);
	for (int i = 0; i < COUNT; i++)
		pids[i] = t_sleeper(group);
	check(cgf_procs, group, pids);
	check(cgf_tasks, group, pids);
	CHECK(OK(cgf_procs(below, NULL, 0, &err)) == 1);

	cgf_group_free(below);
	t_remove(group);
	for (int i = 0; i < COUNT; i++)
		t_reap_killed(pids[i]);
	t_reap_killed(inner);
	return T_END();
}
