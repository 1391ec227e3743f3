/* R1.6: a controller logs every fork and exit, as its monitor drives it. */
#include "events.h"

struct birth {
	pid_t parent, child;
};

static struct log {
	struct t_stream *monitor;
	struct birth births[256];
	pid_t ends[256];
	int nbirths, nends, answer;
} happened;

static int logged_fork(void *state, struct cgf_group *g, pid_t parent, pid_t child)
{
	struct log *log = state;
	struct cgf_event *event = NULL;
	char path[64];

	CHECK(log == &happened && log->nbirths < 256);
	OK(cgf_group_path(g, path, sizeof(path), &err));
	CHECK(!strcmp(path, "/g"));
	/* The handle is as good as any, and the monitor is in use. */
	OK(cgf_procs(g, NULL, 0, &err));
	FAILS(EBUSY, t_next(log->monitor, -1, &event));
	CHECK(!event);
	log->births[log->nbirths++] = (struct birth){ parent, child };
	return log->answer;
}

static int logged_exit(void *state, struct cgf_group *g, pid_t pid)
{
	struct log *log = state;

	CHECK(log == &happened && log->nends < 256);
	OK(cgf_procs(g, NULL, 0, &err));
	log->ends[log->nends++] = pid;
	return 0;
}

static int births_of(pid_t child)
{
	int count = 0;

	for (int i = 0; i < happened.nbirths; i++)
		count += happened.births[i].child == child;
	return count;
}

static int births_by(pid_t parent)
{
	int count = 0;

	for (int i = 0; i < happened.nbirths; i++)
		count += happened.births[i].parent == parent;
	return count;
}

static int ends_of(pid_t pid)
{
	int count = 0;

	for (int i = 0; i < happened.nends; i++)
		count += happened.ends[i] == pid;
	return count;
}

/* Until so many children of members are logged, and so many ends. */
static void drive(struct t_stream *s, pid_t first, int births, int ends)
{
	struct cgf_event *event = NULL;
	int told_births = 0, told_ends = 0;

	for (int i = 0; i < 100; i++) {
		while (OK(t_next(s, 100, &event))) {
			told_births += cgf_event_kind(event) == CGF_EVENT_FORK;
			told_ends += cgf_event_kind(event) == CGF_EVENT_EXIT;
			/* Logged before it is told, and nothing else is. */
			CHECK(happened.nbirths == told_births && happened.nends == told_ends);
			if (cgf_event_kind(event) == CGF_EVENT_FORK) {
				CHECK(cgf_event_pid(event) == happened.births[told_births - 1].child);
				CHECK(cgf_event_parent(event) == happened.births[told_births - 1].parent);
			}
			cgf_event_free(event);
		}
		if (happened.nbirths - births_of(first) == births && happened.nends == ends)
			return;
	}
	t_fail(__FILE__, __LINE__, "%d births and %d ends, not %d and %d", happened.nbirths, happened.nends, births, ends);
}

static void forget(void)
{
	happened.nbirths = happened.nends = 0;
}

/* A tree of five that stays until it is killed. */
static void lasting_tree(struct t_stream *s, struct cgf_group *group)
{
	pid_t first = t_shell(group, "sh -c 'sleep 100 & sleep 100 & wait' & sleep 100 & wait"), members[8];
	int by_others = 0;

	drive(s, first, 4, 0);
	CHECK(OK(cgf_procs(group, members, 8, &err)) == 5);
	CHECK(births_by(first) == 2);
	for (int i = 0; i < 5; i++)
		if (members[i] != first) {
			CHECK(births_of(members[i]) == 1);
			by_others += births_by(members[i]);
		}
	CHECK(by_others == 2);
	forget();
	OK(cgf_kill(group, SIGKILL, &err));
	t_reap_killed(first);
	drive(s, first, 0, 5);
	for (int i = 0; i < 5; i++)
		CHECK(ends_of(members[i]) == 1);
	/* Orphans come to us. */
	while (waitpid(-1, NULL, 0) > 0)
		;
	forget();
}

/* Members that are gone before anybody looks. */
static void brief_lives(struct t_stream *s, struct cgf_group *group)
{
	pid_t first = t_shell(group, "kill -STOP $$; i=0; while [ $i -lt 40 ]; do (:); i=$((i + 1)); done");
	struct cgf_event *event;
	int status, known = 0;

	/* Whose group the kernel cannot tell any more, nobody knows. */
	while (!known) {
		CHECK(OK(t_next(s, 10000, &event)) == 1);
		known = cgf_event_pid(event) == first;
		cgf_event_free(event);
	}
	forget();
	CHECK(waitpid(first, &status, WUNTRACED) == first && WIFSTOPPED(status));
	CHECK(!kill(first, SIGCONT));
	CHECK(t_wait(first) == 0);
	drive(s, first, 40, 41);
	CHECK(births_by(first) == 40 && ends_of(first) == 1);
	for (int i = 0; i < happened.nbirths; i++)
		CHECK(births_of(happened.births[i].child) == 1 && ends_of(happened.births[i].child) == 1);
	forget();
}

/* What a callback gives is what the monitor gives; the stream goes on. */
static void failing(struct t_stream *s, struct cgf_group *group, int answer, int expected)
{
	struct cgf_event *event = NULL;
	pid_t first;
	int result, failures = 0;

	happened.answer = answer;
	first = t_shell(group, "sleep 100 & read line; wait");
	for (int i = 0; i < 100 && (!births_by(first) || !failures); i++) {
		result = t_next(s, 100, &event);
		if (result > 0)
			CHECK(cgf_event_kind(event) != CGF_EVENT_FORK);
		if (result < 0) {
			CHECK(strstr(cgf_error_message(err), "logger"));
			FAILS(expected, result);
			failures++;
			CHECK(!event);
		}
		cgf_event_free(event);
		event = NULL;
	}
	CHECK(failures == happened.nbirths && births_by(first) == 1);
	happened.answer = 0;
	OK(cgf_kill(group, SIGKILL, &err));
	t_reap_killed(first);
	happened.nbirths = 0;
	drive(s, first, 0, 2);
	while (waitpid(-1, NULL, 0) > 0)
		;
	forget();
}

int main(int argc, char *argv[])
{
	struct cgf_subsystem log = {
		.size = sizeof(log),
		.name = "logger",
		.state = &happened,
		.fork = logged_fork,
		.exit = logged_exit,
	};
	struct cgf_group *group;
	struct t_stream s;

	(void)argc;
	OK(cgf_subsystem_register(&log, &err));
	T_BEGIN_WITH(",freezer,signal,logger");
	group = t_group("g");
	s = t_monitor(t_h, 0);
	happened.monitor = &s;
	lasting_tree(&s, group);
	if (OK(cgf_monitor_lists_tasks(s.monitor, &err)) == 0)
		brief_lives(&s, group);
	failing(&s, group, -EXFULL, EXFULL);
	failing(&s, group, 5, EINVAL);
	t_free(&s);

	/* Found by listing, as where there is no proc connector. */
	s = t_monitor(t_h, CGF_WATCH_LISTING);
	CHECK(OK(cgf_monitor_lists_tasks(s.monitor, &err)) == 1);
	lasting_tree(&s, group);
	t_free(&s);
	t_remove(group);
	OK(cgf_subsystem_unregister("logger", &err));
	return T_END();
}
