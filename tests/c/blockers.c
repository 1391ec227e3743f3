/*
 * R3.2, R3.7: a freeze that is not done in time names the tasks, to callers of
 * any version, and stays FREEZING or goes back as the caller chose.
 */
#include "t.h"

enum { BUSY = 16 };

/* Not twice the structure, to have an end that is no multiple of it. */
struct later {
	struct cgf_blocker known;
	char more[24];
};

static void thaw(struct cgf_group *group)
{
	OK(cgf_thaw(group, &err));
}

/* Freezes until one freeze does not manage at once, and keeps its error. */
static struct cgf_error *blocked(struct cgf_group *group, uint64_t flags)
{
	struct cgf_error *why = NULL;

	for (int i = 0; i < 500; i++) {
		int result = cgf_freeze(group, 0, flags, &why);

		CHECK(result == 0 || result == -EBUSY);
		if (result && cgf_error_blockers(why, NULL, 0, 0) > 0)
			return why;
		cgf_error_free(why);
		why = NULL;
		thaw(group);
		t_sleep_ms(1);
	}
	SKIP("500 freezes of 16 busy processes were done at once");
	return NULL;
}

static int is_member(const pid_t pids[], pid_t pid)
{
	for (int i = 0; i < BUSY; i++)
		if (pids[i] == pid)
			return 1;
	return 0;
}

static void check_blocker(const struct cgf_blocker *blocker, const pid_t pids[])
{
	CHECK(blocker->size == sizeof(*blocker));
	CHECK(is_member(pids, blocker->pid));
	CHECK(blocker->tid == blocker->pid);
	CHECK(!strcmp(blocker->command, "sh"));
	CHECK(blocker->state > ' ' && blocker->state <= 'z');
	CHECK(blocker->evidence == CGF_EVIDENCE_PROVED || blocker->evidence == CGF_EVIDENCE_STATE);
	CHECK(memchr(blocker->waits_in, 0, sizeof(blocker->waits_in)));
	for (size_t i = 0; i < sizeof(blocker->reserved); i++)
		CHECK(!blocker->reserved[i]);
}

int main(int argc, char *argv[])
{
	struct cgf_blocker all[BUSY + 1];
	struct later later[2];
	struct cgf_group *group;
	struct cgf_error *why;
	pid_t pids[BUSY], head[4 * 2];
	size_t count;

	(void)argc;
	T_BEGIN();
	group = t_group("busy");
	for (int i = 0; i < BUSY; i++)
		pids[i] = t_shell(group, "while :; do :; done");

	why = blocked(group, 0);
	count = cgf_error_blockers(why, NULL, 0, 0);
	CHECK(count <= BUSY);
	memset(all, 0x55, sizeof(all));
	CHECK(cgf_error_blockers(why, all, sizeof(all[0]), BUSY) == count);
	for (size_t i = 0; i < count; i++)
		check_blocker(&all[i], pids);
	CHECK(all[count].pid == 0x55555555);

	/* An older caller, whose structure ends after tid. */
	memset(head, 0x55, sizeof(head));
	CHECK(cgf_error_blockers(why, (void *)head, 16, 1) == count);
	CHECK(head[2] == all[0].pid && head[3] == all[0].tid);
	CHECK(head[0] == 16 && head[4] == 0x55555555);

	/* A newer one. */
	memset(later, 0x55, sizeof(later));
	CHECK(cgf_error_blockers(why, &later[0].known, sizeof(later[0]), 1) == count);
	check_blocker(&later[0].known, pids);
	for (size_t i = 0; i < sizeof(later[0].more); i++)
		CHECK(!later[0].more[i]);
	CHECK(later[1].known.pid == 0x55555555);
	cgf_error_free(why);

	/* It freezes by itself, and the next look shows it (R3.3). */
	t_await_state(group, CGF_FROZEN);
	thaw(group);
	why = blocked(group, CGF_FREEZE_ROLLBACK);
	cgf_error_free(why);
	CHECK(OK(cgf_state(group, &err)) == CGF_THAWED);

	t_remove(group);
	for (int i = 0; i < BUSY; i++)
		t_reap_killed(pids[i]);
	return T_END();
}
