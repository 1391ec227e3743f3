/* R1.11: the agent is told once of each emptying, and groups remove themselves. */
#include "events.h"

static char directory[64], agent[96], calls[96];

static void clean_files(void)
{
	if (getpid() != t_pid)
		return;
	unlink(agent);
	unlink(calls);
	rmdir(directory);
}

static void make_agent(void)
{
	FILE *file;

	snprintf(directory, sizeof(directory), "/tmp/cgf-c-agent-XXXXXX");
	CHECK(mkdtemp(directory));
	snprintf(agent, sizeof(agent), "%s/agent", directory);
	snprintf(calls, sizeof(calls), "%s/calls", directory);
	atexit(clean_files);
	file = fopen(agent, "we");
	CHECK(file && fprintf(file, "#!/bin/sh\necho \"$# $1\" >> %s\n", calls) > 0 && !fclose(file));
	CHECK(!chmod(agent, 0755));
}

/* What the agent was told so far, once it was told so much. */
static void told(struct t_stream *s, const char *expected)
{
	char text[256] = "";
	FILE *file;

	for (int i = 0; i < 100 && strlen(text) < strlen(expected); i++) {
		/* The monitor waits for its agents where it is asked for events. */
		t_does_not_come(s, CGF_EVENT_NOTIFIED, 20);
		file = fopen(calls, "re");
		if (file) {
			text[fread(text, 1, sizeof(text) - 1, file)] = 0;
			fclose(file);
		}
	}
	if (strcmp(text, expected))
		t_fail(__FILE__, __LINE__, "the agent was told \"%s\", not \"%s\"", text, expected);
}

static void visit(struct cgf_group *group)
{
	char *argv[] = { "true", NULL };

	CHECK(t_wait(t_spawn(group, argv)) == 0);
}

int main(int argc, char *argv[])
{
	struct t_stream s, second;
	struct cgf_group *root, *group, *brief;
	struct cgf_event *event;
	const char *name;
	uint64_t value;
	pid_t sleeper;
	int figures;

	(void)argc;
	T_BEGIN();
	make_agent();
	OK(cgf_group_open(t_h, "/", &root, &err));
	OK(cgf_write(root, "release_agent", agent, &err));
	group = t_group("web");
	OK(cgf_write(group, "notify_on_release", "1", &err));
	s = t_monitor(t_h, 0);
	second = t_monitor(t_h, 0);
	t_waits(&s, 200);

	visit(group);
	/* Whichever monitor does it, it is done once. */
	event = t_await(&s, CGF_EVENT_NOTIFIED, "/web");
	CHECK(cgf_event_pid(event) > 1 && !strcmp(cgf_event_name(event), "notified"));
	cgf_event_free(event);
	told(&s, "1 /web\n");
	t_does_not_come(&second, CGF_EVENT_NOTIFIED, 200);
	t_does_not_come(&s, CGF_EVENT_NOTIFIED, 200);
	told(&s, "1 /web\n");
	t_free(&s);
	visit(group);
	t_comes(&second, CGF_EVENT_NOTIFIED, "/web");
	told(&second, "1 /web\n1 /web\n");

	/* One that cannot be started. */
	OK(cgf_write(root, "release_agent", "/no/such/agent", &err));
	visit(group);
	event = t_await(&second, CGF_EVENT_RELEASE_FAILED, "/web");
	CHECK(strstr(cgf_event_message(event), "/no/such/agent"));
	cgf_event_free(event);
	told(&second, "1 /web\n1 /web\n");
	t_remove(group);

	/* A group that goes by itself, with what it had counted. */
	brief = t_group("brief");
	OK(cgf_write(brief, "auto_delete", "1", &err));
	sleeper = t_sleeper(brief);
	OK(cgf_freeze(brief, 5000, 0, &err));
	t_sleep_ms(20);
	OK(cgf_thaw(brief, &err));
	OK(cgf_kill(brief, SIGKILL, &err));
	t_reap_killed(sleeper);
	event = t_await(&second, CGF_EVENT_RELEASED, "/brief");
	value = 0;
	for (figures = 0; !cgf_event_figure(event, figures, &name, &value); figures++) {
		CHECK(*name);
		if (!strcmp(name, "frozen_usec"))
			CHECK(value >= 20000 && value < 60000000);
	}
	CHECK(figures >= 1 && cgf_event_figure(event, figures, &name, &value) == -ENODATA);
	CHECK(cgf_event_figure(event, SIZE_MAX, &name, &value) == -ENODATA);
	cgf_event_free(event);
	FAILS(ENODEV, cgf_procs(brief, NULL, 0, &err));
	cgf_group_free(brief);
	t_free(&second);
	cgf_group_free(root);
	return T_END();
}
