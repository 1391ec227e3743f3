/* R1.6: what a controller notes on a group, every process sees, and it goes with the group. */
#include "t.h"

static void check(const struct cgf_group *group, const char *name, const char *expected)
{
	char *text = malloc(8192);
	long length = OK(cgf_attribute_get(group, name, text, 8192, &err));

	CHECK(length == (long)strlen(expected) && !strcmp(text, expected));
	free(text);
}

int main(int argc, char *argv[])
{
	static const char *const bad[] = { "", "notes", "notes.", ".key", "other.key", "frozen_since", "notes.a/b",
					   "notes.a b", "notes.\xff", "freezer.key" };
	struct cgf_subsystem s = { .size = sizeof(s), .name = "notes" };
	struct cgf_group *group;
	char buffer[16], long_text[1026];
	pid_t child;

	(void)argc;
	OK(cgf_subsystem_register(&s, &err));
	T_BEGIN_WITH(",signal,notes");
	group = t_group("g");
	FAILS(ENODATA, cgf_attribute_get(group, "notes.key", buffer, sizeof(buffer), &err));
	/* Whether there is one or not. */
	OK(cgf_attribute_set(group, "notes.key", NULL, &err));
	OK(cgf_attribute_set(group, "notes.key", "value", &err));
	check(group, "notes.key", "value");
	OK(cgf_attribute_set(group, "notes.key", "", &err));
	check(group, "notes.key", "");
	OK(cgf_attribute_set(group, "notes.key", "caf\xc3\xa9\n", &err));
	check(group, "notes.key", "caf\xc3\xa9\n");
	FAILS(EINVAL, cgf_attribute_set(group, "notes.key", "\xff", &err));
	check(group, "notes.key", "caf\xc3\xa9\n");
	OK(cgf_attribute_set(group, "notes.key", "THAWED\n", &err));

	/* As readlink(2), and a NUL where there is room. */
	for (size_t cap = 0; cap <= 9; cap++) {
		memset(buffer, '#', sizeof(buffer));
		CHECK(OK(cgf_attribute_get(group, "notes.key", cap ? buffer : NULL, cap, &err)) == 7);
		CHECK(!memcmp(buffer, "THAWED\n", cap < 7 ? cap : 7));
		CHECK(buffer[7] == (cap > 7 ? 0 : '#'));
		CHECK(buffer[8] == '#');
	}

	child = fork();
	CHECK(child >= 0);
	if (!child) {
		struct cgf_hierarchy *own = t_open("");
		struct cgf_group *same;

		OK(cgf_group_open(own, "g", &same, &err));
		check(same, "notes.key", "THAWED\n");
		OK(cgf_attribute_set(same, "notes.from", "a child", &err));
		cgf_group_free(same);
		cgf_hierarchy_free(own);
		cgf_group_free(group);
		_exit(0);
	}
	t_wait_part(child);
	check(group, "notes.from", "a child");

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		FAILS(EINVAL, cgf_attribute_get(group, bad[i], buffer, sizeof(buffer), &err));
		FAILS(EINVAL, cgf_attribute_set(group, bad[i], "x", &err));
		FAILS(EINVAL, cgf_attribute_set(group, bad[i], NULL, &err));
	}
	memset(long_text, 'x', 1025);
	long_text[1025] = 0;
	FAILS(E2BIG, cgf_attribute_set(group, "notes.key", long_text, &err));
	check(group, "notes.key", "THAWED\n");
	long_text[1024] = 0;
	OK(cgf_attribute_set(group, "notes.key", long_text, &err));
	check(group, "notes.key", long_text);
	OK(cgf_attribute_set(group, "notes.key", NULL, &err));
	FAILS(ENODATA, cgf_attribute_get(group, "notes.key", buffer, sizeof(buffer), &err));

	OK(cgf_group_remove(group, 0, &err));
	FAILS(ENODEV, cgf_attribute_get(group, "notes.from", buffer, sizeof(buffer), &err));
	FAILS(ENODEV, cgf_attribute_set(group, "notes.from", "x", &err));
	cgf_group_free(group);
	/* Another one under the same path has nothing of it. */
	group = t_group("g");
	FAILS(ENODATA, cgf_attribute_get(group, "notes.from", buffer, sizeof(buffer), &err));
	t_remove(group);
	OK(cgf_subsystem_unregister("notes", &err));
	return T_END();
}
