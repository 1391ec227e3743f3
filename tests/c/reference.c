/* R1.7: a group stays while somebody has a reference on it, and no longer. */
#include "t.h"

/* A process that takes a reference, and says so; its child lives on. */
static pid_t holder(pid_t *survivor)
{
	int ends[2];
	pid_t pid;

	CHECK(!pipe2(ends, O_CLOEXEC));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct cgf_hierarchy *own = t_open("");
		struct cgf_reference *reference;
		struct cgf_group *group;
		pid_t child;

		OK(cgf_group_open(own, "g", &group, &err));
		OK(cgf_reference(group, &reference, &err));
		child = fork();
		CHECK(child >= 0);
		if (child)
			CHECK(write(ends[1], &child, sizeof(child)) == sizeof(child));
		for (;;)
			pause();
	}
	CHECK(read(ends[0], survivor, sizeof(*survivor)) == sizeof(*survivor));
	close(ends[0]);
	close(ends[1]);
	return pid;
}

int main(int argc, char *argv[])
{
	struct cgf_group *group, *above;
	struct cgf_reference *first = NULL, *second = NULL, *none = NULL;
	struct timespec before, after;
	pid_t sleeper, child, survivor;

	(void)argc;
	T_BEGIN();
	group = t_group("g");
	sleeper = t_sleeper(group);
	OK(cgf_reference(group, &first, &err));
	OK(cgf_reference(group, &second, &err));
	CHECK(first && second);
	/* Nobody is killed for a removal that is refused. */
	FAILS(EBUSY, cgf_group_remove(group, CGF_REMOVE_KILL, &err));
	CHECK(OK(cgf_procs(group, NULL, 0, &err)) == 1);

	/* In a child it is the parent's: freeing it there gives nothing back. */
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		cgf_reference_free(first);
		cgf_reference_free(second);
		_exit(0);
	}
	t_wait_part(child);
	FAILS(EBUSY, cgf_group_remove(group, CGF_REMOVE_KILL, &err));

	cgf_reference_free(first);
	cgf_reference_free(second);
	cgf_reference_free(NULL);

	/* The reference of another process counts, until that is killed. */
	child = holder(&survivor);
	CHECK(cgf_group_remove(group, CGF_REMOVE_KILL, &err) == -EBUSY);
	{
		char number[16];

		snprintf(number, sizeof(number), "%d", (int)child);
		CHECK(strstr(cgf_error_message(err), number));
	}
	cgf_error_free(err);
	err = NULL;
	CHECK(!kill(child, SIGKILL));
	t_reap_killed(child);
	CHECK(!kill(survivor, 0));
	clock_gettime(CLOCK_MONOTONIC, &before);
	OK(cgf_group_remove(group, CGF_REMOVE_KILL, &err));
	clock_gettime(CLOCK_MONOTONIC, &after);
	CHECK(after.tv_sec - before.tv_sec < 5 || getenv("CGF_UNDER"));
	CHECK(!kill(survivor, SIGKILL));
	t_reap_killed(survivor);
	t_reap_killed(sleeper);

	FAILS(ENODEV, cgf_reference(group, &none, &err));
	cgf_group_free(group);

	/* One on a group below keeps those above. */
	group = t_group("a/b");
	OK(cgf_group_open(t_h, "a", &above, &err));
	OK(cgf_reference(group, &first, &err));
	FAILS(EBUSY, cgf_group_remove(above, CGF_REMOVE_RECURSIVE, &err));
	OK(cgf_state(group, &err));
	cgf_reference_free(first);
	OK(cgf_group_remove(above, CGF_REMOVE_RECURSIVE, &err));
	FAILS(ENODEV, cgf_reference(group, &none, &err));
	CHECK(!none);
	cgf_group_free(above);
	cgf_group_free(group);
	return T_END();
}
