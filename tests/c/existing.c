/* R1.1: what others have made is opened, by name or by one of its processes. */
#include "t.h"

int main(int argc, char *argv[])
{
	struct cgf_hierarchy *h = NULL;
	struct cgf_group *group, *root;
	char options[64], where[4096], expected[4096];
	pid_t sleeper, listed;

	(void)argc;
	T_BEGIN();
	snprintf(options, sizeof(options), "backend=%s", t_backend());
	FAILS(ENOENT, cgf_hierarchy_open_existing("no-such-hierarchy", options, &h, &err));
	FAILS(ENOENT, cgf_hierarchy_open_existing("no-such-hierarchy", "", &h, &err));
	CHECK(!h);
	OK(cgf_hierarchy_open_existing(t_name, options, &h, &err));
	cgf_hierarchy_free(h);
	OK(cgf_hierarchy_open_existing(t_name, "", &h, &err));
	CHECK(!strcmp(cgf_hierarchy_backend(h), cgf_hierarchy_backend(t_h)));
	cgf_hierarchy_free(h);

	group = t_group("g");
	sleeper = t_sleeper(group);
	FAILS(ESRCH, cgf_hierarchy_of(0x3fffffff, "", &h, &err));
	if (!t_is("embedded")) {
		OK(cgf_hierarchy_of(sleeper, options, &h, &err));
		OK(cgf_hierarchy_directory(t_h, expected, sizeof(expected) - 2, &err));
		strcat(expected, "/g");
		OK(cgf_hierarchy_directory(h, where, sizeof(where), &err));
		CHECK(!strcmp(where, expected));
		OK(cgf_group_open(h, "/", &root, &err));
		CHECK(OK(cgf_procs(root, &listed, 1, &err)) == 1 && listed == sleeper);
		OK(cgf_freeze(root, 5000, 0, &err));
		CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
		OK(cgf_thaw(root, &err));
		FAILS(EBUSY, cgf_group_remove(root, CGF_REMOVE_KILL, &err));
		cgf_group_free(root);
		cgf_hierarchy_free(h);
	}
	t_remove(group);
	t_reap_killed(sleeper);
	return T_END();
}
