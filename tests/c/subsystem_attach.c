/* R2.2: who is asked and told of an attach, in which order, and what a refusal undoes. */
#include <limits.h>
#include <pthread.h>

#include "t.h"

/* What happened, as "a.can_attach b.can_attach ...", and what is to fail how. */
static char happened[2048];
static char fails_at[64];
static int fails_with;
static pid_t expected_pid;
static const char *expected_from, *expected_to = "/to";
static int expected_threads;

static int note(const char *who, const char *what, const struct cgf_attachment *a, pid_t tid)
{
	char entry[64], path[64], from[64];
	pid_t threads[16];
	long count = cgf_attachment_threads(a, threads, 16);
	int is_birth = cgf_attachment_is_birth(a), found = 0;

	snprintf(entry, sizeof(entry), "%s.%s ", who, what);
	strncat(happened, entry, sizeof(happened) - strlen(happened) - 1);
	OK(cgf_group_path(cgf_attachment_group(a), path, sizeof(path), &err));
	CHECK(!strcmp(path, expected_to));
	CHECK(cgf_attachment_from(a, from, sizeof(from)) == (long)strlen(expected_from));
	CHECK(!strcmp(from, expected_from));
	CHECK(cgf_attachment_may_freeze(a) == 0);
	if (is_birth) {
		CHECK(cgf_attachment_pid(a) == 0 && count == 1 && threads[0] == 0);
	} else {
		CHECK(!expected_pid || cgf_attachment_pid(a) == expected_pid);
		CHECK(cgf_attachment_pid(a) > 0 && count == expected_threads);
	}
	for (long i = 0; i < count; i++)
		found |= threads[i] == tid;
	CHECK(tid < 0 || found);
	entry[strlen(entry) - 1] = 0;
	return strcmp(entry, fails_at) ? 0 : fails_with;
}

#define CALLBACK(name) \
	static int name(void *state, const struct cgf_attachment *a) { return note(state, #name, a, -1); }
#define TASK_CALLBACK(name) \
	static int name(void *state, const struct cgf_attachment *a, pid_t tid) { return note(state, #name, a, tid); }

CALLBACK(can_attach)
TASK_CALLBACK(can_attach_task)
CALLBACK(cancel_attach)
CALLBACK(pre_attach)
TASK_CALLBACK(attach_task)
CALLBACK(attach)

static void controller(const char *name)
{
	struct cgf_subsystem subsystem = {
		.size = sizeof(subsystem),
		.name = name,
		.state = (void *)name,
		.can_attach = can_attach,
		.can_attach_task = can_attach_task,
		.cancel_attach = cancel_attach,
		.pre_attach = pre_attach,
		.attach_task = attach_task,
		.attach = attach,
	};

	OK(cgf_subsystem_register(&subsystem, &err));
}

static void begin(const char *from, pid_t pid, const char *where, int how)
{
	happened[0] = 0;
	expected_from = from;
	expected_pid = pid;
	expected_threads = 1;
	fails_with = how;
	snprintf(fails_at, sizeof(fails_at), "%s", where);
}

static void was(const char *expected)
{
	if (strcmp(happened, expected))
		t_fail(__FILE__, __LINE__, "not:\n%s\nbut:\n%s", expected, happened);
}

static void is_in(const char *path, pid_t pid)
{
	struct cgf_group *group;
	char text[64];

	OK(cgf_group_of(t_h, pid, &group, &err));
	OK(cgf_group_path(group, text, sizeof(text), &err));
	if (strcmp(text, path))
		t_fail(__FILE__, __LINE__, "%d is in %s, not in %s", (int)pid, text, path);
	cgf_group_free(group);
}

#define ASKED_A "a.can_attach a.can_attach_task "
#define ASKED ASKED_A "b.can_attach b.can_attach_task "
#define TOLD_A "a.attach_task a.attach "
#define CANCELLED "b.cancel_attach a.cancel_attach "

static void *wait_for_end(void *ends)
{
	char byte;

	(void)!read(*(int *)ends, &byte, 1);
	return NULL;
}

/* Of a process with three threads, each one comes. */
static void threads(struct cgf_group *to)
{
	int ends[2];
	char byte;
	pid_t pid;

	CHECK(!pipe2(ends, O_CLOEXEC));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		pthread_t others[2];
		int never[2];

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		CHECK(!pipe(never));
		for (int i = 0; i < 2; i++)
			CHECK(!pthread_create(&others[i], NULL, wait_for_end, &never[0]));
		CHECK(write(ends[1], "x", 1) == 1);
		for (;;)
			pause();
	}
	CHECK(read(ends[0], &byte, 1) == 1);
	close(ends[0]);
	close(ends[1]);
	begin("/", pid, "", 0);
	expected_threads = 3;
	OK(cgf_attach(to, pid, &err));
	was("a.can_attach a.can_attach_task a.can_attach_task a.can_attach_task "
	    "b.can_attach b.can_attach_task b.can_attach_task b.can_attach_task a.pre_attach b.pre_attach "
	    "a.attach_task a.attach_task a.attach_task a.attach "
	    "b.attach_task b.attach_task b.attach_task b.attach ");
	is_in("/to", pid);
	t_end_outside(pid);
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *where, *happened;
	} refusals[] = {
		{ "a.can_attach", "a.can_attach " },
		{ "a.can_attach_task", ASKED_A "a.cancel_attach " },
		{ "b.can_attach", ASKED_A "b.can_attach a.cancel_attach " },
		{ "b.can_attach_task", ASKED CANCELLED },
		{ "a.pre_attach", ASKED "a.pre_attach " CANCELLED },
		{ "b.pre_attach", ASKED "a.pre_attach b.pre_attach " CANCELLED },
		{ "a.attach_task", ASKED "a.pre_attach b.pre_attach a.attach_task " CANCELLED },
		{ "a.attach", ASKED "a.pre_attach b.pre_attach " TOLD_A CANCELLED },
		{ "b.attach_task", ASKED "a.pre_attach b.pre_attach " TOLD_A "b.attach_task " CANCELLED },
		{ "b.attach", ASKED "a.pre_attach b.pre_attach " TOLD_A "b.attach_task b.attach " CANCELLED },
	};
	static const int wrong[] = { EPERM, 1, INT_MAX, -4096, INT_MIN };
	struct cgf_group *from, *to;
	char *sleep[] = { "sleep", "100", NULL };
	char number[32];
	pid_t pid, child = 7;

	(void)argc;
	controller("b");
	controller("a");
	T_BEGIN_WITH(",signal,b,freezer,a");
	to = t_group("to");
	from = t_group("from");
	pid = t_outside();

	begin("/", pid, "", 0);
	OK(cgf_attach(to, pid, &err));
	was(ASKED "a.pre_attach b.pre_attach " TOLD_A "b.attach_task b.attach ");
	is_in("/to", pid);
	t_end_outside(pid);

	/* From one group to the other, and back after a refusal. */
	pid = t_outside();
	expected_to = "/from";
	begin("/", pid, "", 0);
	OK(cgf_attach(from, pid, &err));
	expected_to = "/to";
	begin("/from", pid, "b.attach", -EXFULL);
	FAILS(EXFULL, cgf_attach(to, pid, &err));
	is_in("/from", pid);
	begin("/from", pid, "", 0);
	OK(cgf_attach(to, pid, &err));
	was(ASKED "a.pre_attach b.pre_attach " TOLD_A "b.attach_task b.attach ");
	is_in("/to", pid);
	t_end_outside(pid);
	t_remove(from);

	threads(to);

	/* Not born yet when asked, a process when told. */
	begin("", 0, "", 0);
	child = t_sleeper(to);
	was(ASKED "a.pre_attach b.pre_attach " TOLD_A "b.attach_task b.attach ");
	is_in("/to", child);
	CHECK(!kill(child, SIGKILL));
	t_reap_killed(child);

	pid = t_outside();
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		begin("/", pid, refusals[i].where, -EXFULL);
		FAILS(EXFULL, cgf_attach(to, pid, &err));
		was(refusals[i].happened);
		is_in("/", pid);

		begin("", 0, refusals[i].where, -EXFULL);
		child = 7;
		FAILS(EXFULL, cgf_spawn(to, "sleep", sleep, NULL, &child, &err));
		was(refusals[i].happened);
		CHECK(child == 7 && waitpid(-1, NULL, WNOHANG) == 0);
		CHECK(OK(cgf_procs(to, NULL, 0, &err)) == 0);
	}

	/* What cancel_attach says changes nothing; nobody fails who is not there. */
	begin("/", pid, "a.cancel_attach", -EXFULL);
	FAILS(ESRCH, cgf_attach(to, 0x3fffffff, &err));
	was("");

	/* Neither consent nor an errno: that is said. */
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		begin("/", pid, "b.can_attach", wrong[i]);
		snprintf(number, sizeof(number), " %d,", wrong[i]);
		CHECK(cgf_attach(to, pid, &err) == -EINVAL);
		if (!strstr(cgf_error_message(err), number))
			t_fail(__FILE__, __LINE__, "no%s in: %s", number, cgf_error_message(err));
		cgf_error_free(err);
		err = NULL;
		was(ASKED_A "b.can_attach a.cancel_attach ");
		is_in("/", pid);
	}

	t_remove(to);
	t_end_outside(pid);
	OK(cgf_subsystem_unregister("a", &err));
	OK(cgf_subsystem_unregister("b", &err));
	return T_END();
}
