/* R1.1, R1.3: a group is made, used and removed; what is not there says so. */
#include "t.h"

static void check_path(const struct cgf_group *group, const char *expected)
{
	char path[64];

	CHECK(OK(cgf_group_path(group, path, sizeof(path), &err)) == (long)strlen(expected));
	CHECK(!strcmp(path, expected));
}

int main(int argc, char *argv[])
{
	struct cgf_hierarchy *again;
	struct cgf_group *web, *opened, *root;
	pid_t pid;

	(void)argc;
	T_BEGIN();
	CHECK(t_is(t_backend()) || !strcmp(t_backend(), "auto"));
	again = t_open("");
	FAILS(ENOENT, cgf_group_open(t_h, "web/1", &opened, &err));
	web = t_group("web/1");
	check_path(web, "/web/1");
	FAILS(EEXIST, cgf_group_create(again, "/web/1", &opened, &err));
	FAILS(EEXIST, cgf_group_create(t_h, "/", &opened, &err));
	OK(cgf_group_open(again, "/web/1", &opened, &err));
	OK(cgf_group_open(again, "/", &root, &err));
	check_path(root, "/");

	pid = t_sleeper(web);
	cgf_group_free(opened);
	OK(cgf_group_of(again, pid, &opened, &err));
	check_path(opened, "/web/1");
	CHECK(OK(cgf_state(opened, &err)) == CGF_THAWED);
	OK(cgf_freeze(web, 5000, 0, &err));
	CHECK(OK(cgf_state(opened, &err)) == CGF_FROZEN);
	OK(cgf_freeze(web, 5000, 0, &err));
	OK(cgf_thaw(opened, &err));
	CHECK(OK(cgf_state(web, &err)) == CGF_THAWED);
	OK(cgf_thaw(opened, &err));

	FAILS(EBUSY, cgf_hierarchy_unmount(t_h, &err));
	FAILS(EBUSY, cgf_group_remove(web, 0, &err));
	FAILS(EBUSY, cgf_group_remove(root, CGF_REMOVE_KILL, &err));
	OK(cgf_kill(web, SIGKILL, &err));
	t_reap_killed(pid);
	FAILS(ESRCH, cgf_group_of(t_h, pid, &root, &err));
	OK(cgf_group_remove(web, 0, &err));
	FAILS(ENODEV, cgf_group_remove(web, 0, &err));
	FAILS(ENODEV, cgf_state(opened, &err));
	FAILS(ENODEV, cgf_freeze(opened, 0, 0, &err));
	FAILS(ENODEV, cgf_procs(opened, NULL, 0, &err));
	cgf_group_free(opened);
	cgf_group_free(web);

	OK(cgf_group_open(t_h, "web", &web, &err));
	OK(cgf_group_remove(web, 0, &err));
	cgf_group_free(web);
	/* A group keeps what it needs, whatever is freed first. */
	cgf_hierarchy_free(again);
	check_path(root, "/");
	CHECK(OK(cgf_group_list(root, NULL, 0, &err)) == 0);
	cgf_group_free(root);
	return T_END();
}
