/*
 * R4.1-R4.5: while an image is taken nobody gets at the group, and the end says
 * whether it was still.
 */
#include "t.h"

static struct cgf_checkpoint *begin(struct cgf_group *group, pid_t root)
{
	struct cgf_checkpoint *checkpoint = NULL;

	OK(cgf_checkpoint_begin(group, root, &checkpoint, &err));
	CHECK(checkpoint);
	CHECK(OK(cgf_state(group, &err)) == CGF_CHECKPOINTING);
	return checkpoint;
}

static struct cgf_checkpoint *begin_with(struct cgf_group *group, uint64_t flags)
{
	struct cgf_checkpoint_options options = { .size = sizeof(options), .timeout_ms = 5000, .flags = flags };
	struct cgf_checkpoint *checkpoint = NULL;

	OK(cgf_checkpoint_begin_with(group, 0, &options, &checkpoint, &err));
	CHECK(checkpoint);
	return checkpoint;
}

/* The one task that the next -ESTALE names, and what is said of it. */
static void is_torn(long result, pid_t pid, int evidence, int or_evidence)
{
	struct cgf_blocker task;

	CHECK(result == -ESTALE);
	CHECK(cgf_error_errno(err) == ESTALE);
	CHECK(cgf_error_blockers(err, &task, sizeof(task), 1) == 1);
	CHECK(task.size == sizeof(task) && task.pid == pid);
	CHECK(task.evidence == evidence || task.evidence == or_evidence);
	cgf_error_free(err);
	err = NULL;
}

static void keeps_everybody_out(struct cgf_group *group, pid_t root)
{
	struct cgf_checkpoint *checkpoint = begin(group, root), *none = NULL;
	pid_t outside = t_outside(), buf[4] = { 7, 7, 7, 7 };

	FAILS(EBUSY, cgf_thaw(group, &err));
	FAILS(EBUSY, cgf_freeze(group, 0, 0, &err));
	FAILS(EBUSY, cgf_write(group, "freezer.state", "THAWED", &err));
	FAILS(EBUSY, cgf_attach_with(group, outside, CGF_ATTACH_FROZEN, &err));
	FAILS(EBUSY, cgf_kill(group, SIGKILL, &err));
	FAILS(EBUSY, cgf_group_remove(group, CGF_REMOVE_KILL | CGF_REMOVE_RECURSIVE, &err));
	FAILS(EBUSY, cgf_checkpoint_begin(group, 0, &none, &err));
	CHECK(!none);
	OK(cgf_checkpoint_verify(checkpoint, &err));
	CHECK(OK(cgf_checkpoint_woken(checkpoint, NULL, 0, &err)) == 0);
	CHECK(OK(cgf_checkpoint_woken(checkpoint, buf, 4, &err)) == 0 && buf[0] == 7);
	OK(cgf_checkpoint_end(checkpoint, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	t_end_outside(outside);
}

/* R4.2: each stray is named. */
static void strays_are_named(struct cgf_group *group)
{
	struct cgf_checkpoint *none = NULL;
	struct cgf_blocker stray;
	pid_t outside = t_outside();

	CHECK(cgf_checkpoint_begin(group, outside, &none, &err) == -EXDEV);
	CHECK(!none && cgf_error_errno(err) == EXDEV);
	CHECK(cgf_error_blockers(err, &stray, sizeof(stray), 1) == 1);
	CHECK(stray.pid == outside && stray.evidence == CGF_EVIDENCE_OUTSIDE);
	cgf_error_free(err);
	err = NULL;
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	FAILS(EINVAL, cgf_checkpoint_begin(group, -1, &none, &err));
	t_end_outside(outside);
	FAILS(ESRCH, cgf_checkpoint_begin(group, outside, &none, &err));
	CHECK(!none);
}

/* R4.4: who ends meanwhile is named; cgroup v1 lets nobody frozen die. */
static void what_leaves_tears_it(void)
{
	struct cgf_group *group = t_group("leaves");
	pid_t sleeper = t_sleeper(group);
	struct cgf_checkpoint *checkpoint;

	OK(cgf_freeze(group, 5000, 0, &err));
	checkpoint = begin(group, sleeper);
	CHECK(!kill(sleeper, SIGKILL));
	if (t_is("cgroup1")) {
		OK(cgf_checkpoint_end(checkpoint, &err));
		OK(cgf_thaw(group, &err));
		t_reap_killed(sleeper);
	} else {
		t_reap_killed(sleeper);
		is_torn(cgf_checkpoint_verify(checkpoint, &err), sleeper, CGF_EVIDENCE_LEFT, CGF_EVIDENCE_LEFT);
		is_torn(cgf_checkpoint_end(checkpoint, &err), sleeper, CGF_EVIDENCE_LEFT, CGF_EVIDENCE_LEFT);
	}
	t_remove(group);
}

static void heed(int signal)
{
	(void)signal;
}

/* A process in the group that handles SIGUSR1, and ends with us. */
static pid_t listener(struct cgf_group *group)
{
	int ends[2];
	char byte;
	pid_t pid;

	CHECK(!pipe2(ends, O_CLOEXEC));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGUSR1, heed);
		CHECK(write(ends[1], "x", 1) == 1);
		for (;;)
			pause();
	}
	CHECK(read(ends[0], &byte, 1) == 1);
	close(ends[0]);
	close(ends[1]);
	OK(cgf_attach(group, pid, &err));
	return pid;
}

/* On cgroup v2 a wake-up is no harm, and is reported if that is asked for. */
static void wakeups_are_reported(void)
{
	struct cgf_group *group = t_group("woken");
	pid_t sleeper = listener(group), woken = 0;
	struct cgf_checkpoint *checkpoint;

	OK(cgf_freeze(group, 5000, 0, &err));
	checkpoint = begin_with(group, CGF_CHECKPOINT_WAKEUPS);
	if (t_is("cgroup2")) {
		CHECK(!kill(sleeper, SIGUSR1));
		while (!OK(cgf_checkpoint_woken(checkpoint, &woken, 1, &err)))
			t_sleep_ms(1);
		CHECK(woken == sleeper);
	}
	OK(cgf_checkpoint_end(checkpoint, &err));
	t_remove(group);
	t_reap_killed(sleeper);
}

/* R4.5: the tool may thaw; the end freezes. */
static void a_tool_may_thaw(struct cgf_group *group)
{
	struct cgf_checkpoint *checkpoint = begin_with(group, CGF_CHECKPOINT_EXTERNAL);

	OK(cgf_thaw(group, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_CHECKPOINTING);
	OK(cgf_checkpoint_verify(checkpoint, &err));
	OK(cgf_checkpoint_end(checkpoint, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
}

static void can_be_broken(struct cgf_group *group)
{
	struct cgf_checkpoint *broken, *next;

	FAILS(ENOENT, cgf_checkpoint_break(group, &err));
	broken = begin(group, 0);
	OK(cgf_checkpoint_break(group, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	next = begin(group, 0);
	FAILS(ESTALE, cgf_checkpoint_verify(broken, &err));
	FAILS(ESTALE, cgf_checkpoint_end(broken, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_CHECKPOINTING);
	OK(cgf_checkpoint_end(next, &err));
}

/* The rules of every structure with a size. */
static void options_are_checked(struct cgf_group *group)
{
	struct {
		struct cgf_checkpoint_options known;
		uint64_t more;
	} later = { { .size = sizeof(later) }, 0 };
	struct cgf_checkpoint_options options = { .size = sizeof(options) };
	struct cgf_checkpoint *checkpoint = NULL;

	FAILS(EINVAL, cgf_checkpoint_begin_with(group, 0, NULL, &checkpoint, &err));
	options.size = sizeof(options) - 8;
	FAILS(EINVAL, cgf_checkpoint_begin_with(group, 0, &options, &checkpoint, &err));
	options.size = sizeof(options);
	options.flags = 4;
	FAILS(EINVAL, cgf_checkpoint_begin_with(group, 0, &options, &checkpoint, &err));
	later.more = 1;
	FAILS(E2BIG, cgf_checkpoint_begin_with(group, 0, &later.known, &checkpoint, &err));
	CHECK(!checkpoint);
	later.more = 0;
	OK(cgf_checkpoint_begin_with(group, 0, &later.known, &checkpoint, &err));
	OK(cgf_checkpoint_end(checkpoint, &err));
	checkpoint = NULL;

	FAILS(EINVAL, cgf_checkpoint_begin(NULL, 0, &checkpoint, &err));
	FAILS(EINVAL, cgf_checkpoint_begin(group, 0, NULL, &err));
	FAILS(EINVAL, cgf_checkpoint_verify(NULL, &err));
	FAILS(EINVAL, cgf_checkpoint_woken(NULL, NULL, 0, &err));
	FAILS(EINVAL, cgf_checkpoint_end(NULL, &err));
	FAILS(EINVAL, cgf_checkpoint_break(NULL, &err));
	CHECK(!checkpoint);
	checkpoint = begin(group, 0);
	FAILS(EINVAL, cgf_checkpoint_woken(checkpoint, NULL, 1, &err));
	OK(cgf_checkpoint_end(checkpoint, &err));
}

/* R4.3: with the holder's end it is over, also while a child of its lives. */
static void ends_with_its_holder(struct cgf_group *group)
{
	pid_t holder, survivor;
	int ends[2];

	CHECK(!pipe2(ends, O_CLOEXEC));
	holder = fork();
	CHECK(holder >= 0);
	if (!holder) {
		struct cgf_hierarchy *own = t_open("");
		struct cgf_group *same;

		OK(cgf_group_open(own, "g", &same, &err));
		begin(same, 0);
		survivor = fork();
		CHECK(survivor >= 0);
		if (survivor)
			CHECK(write(ends[1], &survivor, sizeof(survivor)) == sizeof(survivor));
		for (;;)
			pause();
	}
	CHECK(read(ends[0], &survivor, sizeof(survivor)) == sizeof(survivor));
	FAILS(EBUSY, cgf_thaw(group, &err));
	CHECK(!kill(holder, SIGKILL));
	t_reap_killed(holder);
	CHECK(!kill(survivor, 0));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	OK(cgf_thaw(group, &err));
	OK(cgf_freeze(group, 5000, 0, &err));
	OK(cgf_checkpoint_end(begin(group, 0), &err));
	CHECK(!kill(survivor, SIGKILL));
	t_reap_killed(survivor);
	close(ends[0]);
	close(ends[1]);
}

int main(int argc, char *argv[])
{
	struct cgf_checkpoint *none = NULL;
	struct cgf_group *group;
	pid_t sleeper;

	(void)argc;
	T_BEGIN();
	group = t_group("g");
	sleeper = t_sleeper(group);
	FAILS(EINVAL, cgf_checkpoint_begin(group, sleeper, &none, &err));
	OK(cgf_freeze(group, 5000, 0, &err));

	keeps_everybody_out(group, sleeper);
	strays_are_named(group);
	a_tool_may_thaw(group);
	can_be_broken(group);
	options_are_checked(group);
	ends_with_its_holder(group);
	what_leaves_tears_it();
	wakeups_are_reported();

	t_remove(group);
	t_reap_killed(sleeper);
	return T_END();
}
