/* R1.6: a callback runs with nothing locked, and may do what any program may. */
#include <pthread.h>

#include "t.h"

static struct cgf_group *elsewhere;
static pid_t companion;
static int depth, calls;

/* Everything that a callback could want of the group that somebody comes into. */
static int busy(struct cgf_group *group)
{
	struct cgf_group *child, *same;
	struct cgf_reference *reference;
	struct cgf_hold *hold;
	char text[64];

	calls++;
	/* What it does has callbacks itself. */
	if (depth)
		return 0;
	depth++;
	OK(cgf_procs(group, NULL, 0, &err));
	OK(cgf_freeze(group, 5000, 0, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	OK(cgf_thaw(group, &err));
	OK(cgf_hold(group, 5000, 0, &hold, &err));
	OK(cgf_hold_release(hold, &err));
	OK(cgf_read(group, "freezer.state", text, sizeof(text), &err));
	OK(cgf_attribute_set(group, "busy.was_here", "yes", &err));
	OK(cgf_reference(group, &reference, &err));
	cgf_reference_free(reference);
	OK(cgf_attach(elsewhere, companion, &err));
	OK(cgf_group_create(t_h, "made/inside", &child, &err));
	t_remove(child);
	OK(cgf_group_open(t_h, "made", &same, &err));
	t_remove(same);
	/* One may even take it off the list. */
	OK(cgf_subsystem_unregister("other", &err));
	OK(cgf_subsystem_register(&(struct cgf_subsystem){ .size = sizeof(struct cgf_subsystem), .name = "other" }, &err));
	depth--;
	return 0;
}

static int can_attach(void *state, const struct cgf_attachment *a)
{
	(void)state;
	return busy(cgf_attachment_group(a));
}

static int attach(void *state, const struct cgf_attachment *a)
{
	(void)state;
	return busy(cgf_attachment_group(a));
}

static ssize_t read_state(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	(void)state;
	return cgf_read(g, "freezer.state", buf, cap, NULL);
}

static int write_state(void *state, struct cgf_group *g, const char *text)
{
	(void)state;
	return cgf_write(g, "freezer.state", text, NULL);
}

static void *attach_in_thread(void *group)
{
	struct cgf_error *why = NULL;
	pid_t pid = t_outside();

	if (cgf_attach(group, pid, &why))
		t_fail(__FILE__, __LINE__, "%s", cgf_error_message(why));
	t_end_outside(pid);
	return NULL;
}

int main(int argc, char *argv[])
{
	struct cgf_control_file file = { .size = sizeof(file), .name = "state", .read = read_state, .write = write_state };
	struct cgf_subsystem s = {
		.size = sizeof(s),
		.name = "busy",
		.files = &file,
		.nfiles = 1,
		.can_attach = can_attach,
		.attach = attach,
	};
	struct cgf_group *group, *same;
	struct cgf_hierarchy *h;
	pthread_t thread;
	pid_t pid, sleeper;

	(void)argc;
	OK(cgf_subsystem_register(&s, &err));
	s = (struct cgf_subsystem){ .size = sizeof(s), .name = "other" };
	OK(cgf_subsystem_register(&s, &err));
	T_BEGIN_WITH(",freezer,signal,busy,other");
	elsewhere = t_group("elsewhere");
	group = t_group("g");
	companion = t_outside();
	pid = t_outside();
	OK(cgf_attach(group, pid, &err));
	/* Asked and told of the newcomer and, at the first time, of the companion. */
	CHECK(calls == 4);
	sleeper = t_sleeper(group);
	CHECK(calls == 6);
	CHECK(OK(cgf_procs(group, NULL, 0, &err)) == 2);
	CHECK(OK(cgf_procs(elsewhere, NULL, 0, &err)) == 1);
	CHECK(OK(cgf_state(group, &err)) == CGF_THAWED);

	OK(cgf_write(group, "busy.state", "FROZEN", &err));
	t_await_state(group, CGF_FROZEN);
	t_reads(group, "busy.state", "FROZEN\n");
	OK(cgf_write(group, "busy.state", "THAWED", &err));

	/* Another handle's callbacks, in another thread. */
	h = t_open("");
	OK(cgf_group_open(h, "g", &same, &err));
	CHECK(!pthread_create(&thread, NULL, attach_in_thread, same));
	CHECK(!pthread_join(thread, NULL));
	cgf_group_free(same);
	cgf_hierarchy_free(h);

	t_remove(elsewhere);
	t_remove(group);
	t_reap_killed(companion);
	t_reap_killed(pid);
	t_reap_killed(sleeper);
	OK(cgf_subsystem_unregister("busy", &err));
	OK(cgf_subsystem_unregister("other", &err));
	return T_END();
}
