/* A handle from before a fork is the parent's: the child may only free it. */
#include "t.h"

static void in_child(struct cgf_group *group, struct cgf_hold *hold, struct cgf_error *error)
{
	struct cgf_hierarchy *own;
	struct cgf_group *out = NULL;
	struct cgf_hold *share = NULL;
	struct cgf_reference *reference = NULL;
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
	CHECK(!out && !share && !reference);

	/* What only looks at the handle works, and so does the error. */
	OK(cgf_group_path(group, text, sizeof(text), &err));
	CHECK(!strcmp(text, "/g"));
	OK(cgf_hierarchy_directory(t_h, NULL, 0, &err));
	CHECK(*cgf_hierarchy_backend(t_h));
	CHECK(cgf_error_errno(error) == ENOENT && *cgf_error_message(error));

	cgf_error_free(error);
	FAILS(ECHILD, cgf_hold_release(hold, &err));
	cgf_group_free(group);
	cgf_hierarchy_free(t_h);

	/* One that it opens itself is its own. */
	own = t_open("");
	OK(cgf_group_open(own, "g", &group, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	cgf_group_free(group);
	cgf_hierarchy_free(own);
}

int main(int argc, char *argv[])
{
	struct cgf_error *error = NULL;
	struct cgf_group *group, *out;
	struct cgf_hold *hold;
	pid_t pid, sleeper;

	(void)argc;
	T_BEGIN();
	group = t_group("g");
	sleeper = t_sleeper(group);
	OK(cgf_hold(group, 5000, 0, &hold, &err));
	CHECK(cgf_group_open(t_h, "none", &out, &error) == -ENOENT);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		in_child(group, hold, error);
		_exit(0);
	}
	t_wait_part(pid);
	cgf_error_free(error);

	/* The child gave nothing back and ended nothing. */
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	OK(cgf_hold_release(hold, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_THAWED);
	CHECK(!kill(sleeper, 0));
	t_remove(group);
	t_reap_killed(sleeper);
	return T_END();
}
