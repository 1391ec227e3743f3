/* A handle from before a fork is the parent's: the child may only free it. */
#include "events.h"

static void in_child(struct cgf_group *group, struct cgf_hold *hold, struct cgf_checkpoint *checkpoint,
		     struct cgf_error *error, struct t_stream *watch, struct t_stream *monitor,
		     struct cgf_event *created)
{
	struct cgf_hierarchy *own;
	struct cgf_group *out = NULL;
	struct cgf_hold *share = NULL;
	struct cgf_checkpoint *mine = NULL;
	struct cgf_reference *reference = NULL;
	struct cgf_watch *watched = NULL;
	struct cgf_monitor *monitored = NULL;
	struct cgf_event *event = NULL;
	char *argv[] = { "true", NULL };
	char text[64];
	pid_t pid;

	FAILS(ECHILD, cgf_group_create(t_h, "x", &out, &err));
	FAILS(ECHILD, cgf_group_open(t_h, "g", &out, &err));
	FAILS(ECHILD, cgf_group_open(t_h, "/", &out, &err));
	FAILS(ECHILD, cgf_group_of(t_h, 0, &out, &err));
	FAILS(ECHILD, cgf_hierarchy_unmount(t_h, &err));
	FAILS(ECHILD, cgf_group_remove(group, CGF_REMOVE_KILL, &err));
	FAILS(ECHILD, cgf_group_rename(group, "x", &out, &err));
	FAILS(ECHILD, cgf_group_list(group, NULL, 0, &err));
	FAILS(ECHILD, cgf_group_fd(group, &err));
	FAILS(ECHILD, cgf_procs(group, NULL, 0, &err));
	FAILS(ECHILD, cgf_tasks(group, NULL, 0, &err));
	FAILS(ECHILD, cgf_attach(group, 0, &err));
	FAILS(ECHILD, cgf_attach_task(group, 0, &err));
	FAILS(ECHILD, cgf_attach_with(group, 0, CGF_ATTACH_FROZEN, &err));
	FAILS(ECHILD, cgf_attach_pidfd(group, 0, 0, &err));
	FAILS(ECHILD, cgf_spawn(group, "true", argv, NULL, &pid, &err));
	FAILS(ECHILD, cgf_freeze(group, 0, 0, &err));
	FAILS(ECHILD, cgf_thaw(group, &err));
	FAILS(ECHILD, cgf_state(group, &err));
	FAILS(ECHILD, cgf_hold(group, 0, 0, &share, &err));
	FAILS(ECHILD, cgf_checkpoint_begin(group, 0, &mine, &err));
	FAILS(ECHILD, cgf_checkpoint_verify(checkpoint, &err));
	FAILS(ECHILD, cgf_checkpoint_woken(checkpoint, NULL, 0, &err));
	FAILS(ECHILD, cgf_checkpoint_break(group, &err));
	FAILS(ECHILD, cgf_kill(group, SIGKILL, &err));
	FAILS(ECHILD, cgf_read(group, "tasks", text, sizeof(text), &err));
	FAILS(ECHILD, cgf_write(group, "freezer.state", "THAWED", &err));
	FAILS(ECHILD, cgf_control_files(group, NULL, 0, &err));
	FAILS(ECHILD, cgf_controller_fd(group, "pids", &err));
	FAILS(ECHILD, cgf_group_clone(t_h, 0, "x", &out, &err));
	FAILS(ECHILD, cgf_attribute_get(group, "freezer.x", NULL, 0, &err));
	FAILS(ECHILD, cgf_attribute_set(group, "freezer.x", "y", &err));
	FAILS(ECHILD, cgf_attribute_set(group, "freezer.x", NULL, &err));
	FAILS(ECHILD, cgf_reference(group, &reference, &err));
	FAILS(ECHILD, cgf_watch_open(t_h, 0, &watched, &err));
	FAILS(ECHILD, cgf_monitor_open(t_h, CGF_WATCH_TASKS, &monitored, &err));
	FAILS(ECHILD, t_next(watch, -1, &event));
	FAILS(ECHILD, t_next(monitor, -1, &event));
	CHECK(!out && !share && !mine && !reference && !watched && !monitored && !event);

	/* What only looks at the handle works, and so does the error. */
	OK(cgf_group_path(group, text, sizeof(text), &err));
	CHECK(!strcmp(text, "/g"));
	OK(cgf_hierarchy_directory(t_h, NULL, 0, &err));
	CHECK(*cgf_hierarchy_backend(t_h));
	CHECK(cgf_error_errno(error) == ENOENT && *cgf_error_message(error));

	OK(cgf_watch_lists_tasks(watch->watch, &err));
	OK(cgf_monitor_lists_tasks(monitor->monitor, &err));
	CHECK(t_event_is(created, CGF_EVENT_CREATED, "/g") && *cgf_event_boot_id(created));

	cgf_error_free(error);
	cgf_event_free(created);
	t_free(watch);
	t_free(monitor);
	FAILS(ECHILD, cgf_checkpoint_end(checkpoint, &err));
	FAILS(ECHILD, cgf_hold_release(hold, &err));
	cgf_group_free(group);
	cgf_hierarchy_free(t_h);

	/* One that it opens itself is its own. */
	own = t_open("");
	OK(cgf_group_open(own, "g", &group, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_CHECKPOINTING);
	*watch = t_watch(own, CGF_WATCH_TASKS);
	OK(t_next(watch, 0, &event));
	t_free(watch);
	cgf_group_free(group);
	cgf_hierarchy_free(own);
}

int main(int argc, char *argv[])
{
	struct cgf_error *error = NULL;
	struct cgf_group *group, *out;
	struct cgf_event *created;
	struct t_stream watch, monitor;
	struct cgf_hold *hold;
	struct cgf_checkpoint *checkpoint;
	pid_t pid, sleeper;

	(void)argc;
	T_BEGIN();
	watch = t_watch(t_h, CGF_WATCH_TASKS);
	monitor = t_monitor(t_h, 0);
	group = t_group("g");
	created = t_await(&watch, CGF_EVENT_CREATED, "/g");
	sleeper = t_sleeper(group);
	OK(cgf_hold(group, 5000, 0, &hold, &err));
	t_comes(&watch, CGF_EVENT_FROZEN, "/g");
	t_comes(&monitor, CGF_EVENT_FROZEN, "/g");
	CHECK(cgf_group_open(t_h, "none", &out, &error) == -ENOENT);
	OK(cgf_checkpoint_begin(group, sleeper, &checkpoint, &err));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		in_child(group, hold, checkpoint, error, &watch, &monitor, created);
		_exit(0);
	}
	t_wait_part(pid);
	cgf_error_free(error);

	/* The child gave nothing back and ended nothing. */
	CHECK(OK(cgf_state(group, &err)) == CGF_CHECKPOINTING);
	OK(cgf_checkpoint_end(checkpoint, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	OK(cgf_hold_release(hold, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_THAWED);
	CHECK(!kill(sleeper, 0));
	t_comes(&watch, CGF_EVENT_THAWED, "/g");
	t_comes(&monitor, CGF_EVENT_THAWED, "/g");
	t_free(&watch);
	t_free(&monitor);
	cgf_event_free(created);
	t_remove(group);
	t_reap_killed(sleeper);
	return T_END();
}
