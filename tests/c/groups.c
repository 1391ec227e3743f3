/* R1.3, R1.4: listing, renaming, and what a removal covers. */
#include "t.h"

int main(int argc, char *argv[])
{
	struct cgf_group *root, *a, *b, *renamed = NULL;
	char text[64];
	pid_t pid;
	int result;

	(void)argc;
	T_BEGIN();
	OK(cgf_group_open(t_h, "/", &root, &err));
	a = t_group("a");
	b = t_group("a/b");
	CHECK(OK(cgf_group_list(root, text, sizeof(text), &err)) == 8);
	CHECK(!strcmp(text, "/a\n/a/b\n"));
	CHECK(OK(cgf_group_list(a, text, sizeof(text), &err)) == 5);
	CHECK(!strcmp(text, "/a/b\n"));
	memset(text, '#', sizeof(text));
	CHECK(OK(cgf_group_list(root, text, 3, &err)) == 8);
	CHECK(!memcmp(text, "/a\n#", 4));

	result = cgf_group_rename(b, "c", &renamed, &err);
	if (t_is("cgroup2")) {
		FAILS(EOPNOTSUPP, result);
		CHECK(!renamed);
	} else {
		OK(result);
		OK(cgf_group_path(renamed, text, sizeof(text), &err));
		CHECK(!strcmp(text, "/a/c"));
		FAILS(ENOENT, cgf_group_open(t_h, "a/b", &b, &err));
		cgf_group_free(b);
		b = t_group("a/b");
		FAILS(EEXIST, cgf_group_rename(renamed, "b", &b, &err));
		OK(cgf_group_remove(renamed, 0, &err));
		cgf_group_free(renamed);
	}
	FAILS(EINVAL, cgf_group_rename(b, "x/y", &renamed, &err));
	FAILS(EBUSY, cgf_group_rename(root, "x", &renamed, &err));

	FAILS(EBUSY, cgf_group_remove(a, 0, &err));
	FAILS(EBUSY, cgf_group_remove(a, CGF_REMOVE_KILL, &err));
	pid = t_sleeper(b);
	FAILS(EBUSY, cgf_group_remove(a, CGF_REMOVE_RECURSIVE, &err));
	CHECK(!kill(pid, 0));
	OK(cgf_group_remove(a, CGF_REMOVE_KILL | CGF_REMOVE_RECURSIVE, &err));
	t_reap_killed(pid);
	CHECK(OK(cgf_group_list(root, NULL, 0, &err)) == 0);
	cgf_group_free(a);
	cgf_group_free(b);
	cgf_group_free(root);
	return T_END();
}
