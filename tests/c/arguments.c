/* NULL and unknown flags are refused, and nothing is written or done then. */
#include "t.h"

int main(int argc, char *argv[])
{
	struct cgf_group *group, *const none = NULL, *out = (void *)&out;
	struct cgf_hierarchy *hierarchy = (void *)&out;
	struct cgf_hold *hold = (void *)&out;
	struct cgf_reference *reference = (void *)&out;
	struct cgf_spawn_options options = { .size = sizeof(options) };
	char *const arguments[] = { "true", NULL };
	char text[8] = "before";
	pid_t pid = 7;

	(void)argc;
	T_BEGIN();
	group = t_group("g");

	FAILS(EINVAL, cgf_hierarchy_open(NULL, "", &hierarchy, &err));
	FAILS(EINVAL, cgf_hierarchy_open("x", NULL, &hierarchy, &err));
	FAILS(EINVAL, cgf_hierarchy_open("x", "", NULL, &err));
	FAILS(EINVAL, cgf_hierarchy_open_existing(NULL, "", &hierarchy, &err));
	FAILS(EINVAL, cgf_hierarchy_open_existing("x", NULL, &hierarchy, &err));
	FAILS(EINVAL, cgf_hierarchy_open_existing("x", "", NULL, &err));
	FAILS(EINVAL, cgf_hierarchy_of(getpid(), NULL, &hierarchy, &err));
	FAILS(EINVAL, cgf_hierarchy_of(getpid(), "", NULL, &err));
	FAILS(EINVAL, cgf_hierarchy_directory(NULL, text, sizeof(text), &err));
	FAILS(EINVAL, cgf_hierarchy_directory(t_h, NULL, 1, &err));
	FAILS(EINVAL, cgf_hierarchy_unmount(NULL, &err));
	CHECK(!cgf_hierarchy_backend(NULL));
	FAILS(EINVAL, cgf_group_create(NULL, "x", &out, &err));
	FAILS(EINVAL, cgf_group_create(t_h, NULL, &out, &err));
	FAILS(EINVAL, cgf_group_create(t_h, "x", NULL, &err));
	FAILS(ENOENT, cgf_group_open(t_h, "x", &out, &err));
	FAILS(EINVAL, cgf_group_open(NULL, "/", &out, &err));
	FAILS(EINVAL, cgf_group_open(t_h, NULL, &out, &err));
	FAILS(EINVAL, cgf_group_open(t_h, "/", NULL, &err));
	FAILS(EINVAL, cgf_group_of(NULL, 0, &out, &err));
	FAILS(EINVAL, cgf_group_of(t_h, 0, NULL, &err));
	FAILS(EINVAL, cgf_group_of(t_h, -1, &out, &err));
	FAILS(EINVAL, cgf_group_remove(none, 0, &err));
	FAILS(EINVAL, cgf_group_rename(none, "x", &out, &err));
	FAILS(EINVAL, cgf_group_rename(group, NULL, &out, &err));
	FAILS(EINVAL, cgf_group_rename(group, "x", NULL, &err));
	FAILS(EINVAL, cgf_group_path(none, text, sizeof(text), &err));
	FAILS(EINVAL, cgf_group_path(group, NULL, 1, &err));
	FAILS(EINVAL, cgf_group_list(none, text, sizeof(text), &err));
	FAILS(EINVAL, cgf_group_list(group, NULL, 1, &err));
	FAILS(EINVAL, cgf_group_fd(none, &err));
	FAILS(EINVAL, cgf_procs(none, &pid, 1, &err));
	FAILS(EINVAL, cgf_procs(group, NULL, 1, &err));
	FAILS(EINVAL, cgf_tasks(none, &pid, 1, &err));
	FAILS(EINVAL, cgf_tasks(group, NULL, 1, &err));
	FAILS(EINVAL, cgf_attach(none, 0, &err));
	FAILS(EINVAL, cgf_attach_task(none, 0, &err));
	FAILS(EINVAL, cgf_attach_with(none, 0, 0, &err));
	FAILS(EINVAL, cgf_attach_pidfd(none, 0, 0, &err));
	FAILS(EINVAL, cgf_spawn(none, "true", arguments, NULL, &pid, &err));
	FAILS(EINVAL, cgf_spawn(group, NULL, arguments, NULL, &pid, &err));
	FAILS(EINVAL, cgf_spawn(group, "true", NULL, NULL, &pid, &err));
	FAILS(EINVAL, cgf_spawn(group, "true", arguments, NULL, NULL, &err));
	FAILS(EINVAL, cgf_spawn_with(none, "true", arguments, NULL, &options, &pid, &err));
	FAILS(EINVAL, cgf_spawn_with(group, NULL, arguments, NULL, &options, &pid, &err));
	FAILS(EINVAL, cgf_spawn_with(group, "true", NULL, NULL, &options, &pid, &err));
	FAILS(EINVAL, cgf_spawn_with(group, "true", arguments, NULL, NULL, &pid, &err));
	FAILS(EINVAL, cgf_spawn_with(group, "true", arguments, NULL, &options, NULL, &err));
	FAILS(EINVAL, cgf_freeze(none, 0, 0, &err));
	FAILS(EINVAL, cgf_thaw(none, &err));
	FAILS(EINVAL, cgf_state(none, &err));
	FAILS(EINVAL, cgf_hold(none, 0, 0, &hold, &err));
	FAILS(EINVAL, cgf_hold(group, 0, 0, NULL, &err));
	FAILS(EINVAL, cgf_hold_release(NULL, &err));
	FAILS(EINVAL, cgf_kill(none, 0, &err));
	FAILS(EINVAL, cgf_read(none, "tasks", text, sizeof(text), &err));
	FAILS(EINVAL, cgf_read(group, NULL, text, sizeof(text), &err));
	FAILS(EINVAL, cgf_read(group, "tasks", NULL, 1, &err));
	FAILS(EINVAL, cgf_write(none, "tasks", "0", &err));
	FAILS(EINVAL, cgf_write(group, NULL, "0", &err));
	FAILS(EINVAL, cgf_write(group, "tasks", NULL, &err));
	FAILS(EINVAL, cgf_control_files(none, text, sizeof(text), &err));
	FAILS(EINVAL, cgf_control_files(group, NULL, 1, &err));
	FAILS(EINVAL, cgf_controller_fd(none, "pids", &err));
	FAILS(EINVAL, cgf_controller_fd(group, NULL, &err));
	FAILS(EINVAL, cgf_group_clone(NULL, 0, "x", &out, &err));
	FAILS(EINVAL, cgf_group_clone(t_h, 0, NULL, &out, &err));
	FAILS(EINVAL, cgf_group_clone(t_h, 0, "x", NULL, &err));
	FAILS(EINVAL, cgf_attribute_get(none, "freezer.x", text, sizeof(text), &err));
	FAILS(EINVAL, cgf_attribute_get(group, NULL, text, sizeof(text), &err));
	FAILS(EINVAL, cgf_attribute_get(group, "freezer.x", NULL, 1, &err));
	FAILS(EINVAL, cgf_attribute_set(none, "freezer.x", "y", &err));
	FAILS(EINVAL, cgf_attribute_set(group, NULL, "y", &err));
	FAILS(EINVAL, cgf_reference(none, &reference, &err));
	FAILS(EINVAL, cgf_reference(group, NULL, &err));
	FAILS(EINVAL, cgf_subsystem_register(NULL, &err));
	FAILS(EINVAL, cgf_subsystem_unregister(NULL, &err));
	CHECK(!cgf_attachment_group(NULL));
	CHECK(cgf_attachment_pid(NULL) == -EINVAL);
	CHECK(cgf_attachment_from(NULL, text, sizeof(text)) == -EINVAL);
	CHECK(cgf_attachment_threads(NULL, &pid, 1) == -EINVAL);
	CHECK(cgf_attachment_is_birth(NULL) == -EINVAL);
	CHECK(cgf_attachment_may_freeze(NULL) == -EINVAL);
	FAILS(EINVAL, cgf_doctor(NULL, 1, &err));

	FAILS(EINVAL, cgf_group_remove(group, 4, &err));
	FAILS(EINVAL, cgf_group_remove(group, UINT64_MAX, &err));
	FAILS(EINVAL, cgf_attach_with(group, 0, 2, &err));
	FAILS(EINVAL, cgf_attach_pidfd(group, 0, (uint64_t)1 << 63, &err));
	FAILS(EINVAL, cgf_freeze(group, 0, 4, &err));
	FAILS(EINVAL, cgf_hold(group, 0, 4, &hold, &err));
	options.flags = 8;
	FAILS(EINVAL, cgf_spawn_with(group, "true", arguments, NULL, &options, &pid, &err));

	/* Without a place for the error the number is still there. */
	CHECK(cgf_state(none, NULL) == -EINVAL);
	CHECK(cgf_procs(none, NULL, 0, NULL) == -EINVAL);

	CHECK(hierarchy == (void *)&out && out == (void *)&out && hold == (void *)&out);
	CHECK(reference == (void *)&out);
	CHECK(pid == 7 && !strcmp(text, "before"));
	CHECK(OK(cgf_state(group, &err)) == CGF_THAWED);
	CHECK(OK(cgf_procs(group, NULL, 0, &err)) == 0);

	cgf_hierarchy_free(NULL);
	cgf_group_free(NULL);
	cgf_reference_free(NULL);
	cgf_error_free(NULL);
	t_remove(group);
	return T_END();
}
