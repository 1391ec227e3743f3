/* R6.1: a resource's name has one number, for everybody who uses the hierarchy, and no other. */
#include "bc.h"

int main(int argc, char *argv[])
{
	static const char *const bad[] = { "", "Widgets", "9widgets", "_widgets", "wid gets", "wid.gets", "wid/gets",
					   "\xff", "widgets\n", "a2345678901234567890123456789012x" };
	struct cgf_hierarchy *h;
	struct cgf_group *g, *same;
	uint32_t number = 99;
	char name[32];
	pid_t pid;

	(void)argc;
	T_BEGIN_WITH(T_BOUND);
	g = t_group("g");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		FAILS(EINVAL, cgf_resource_register(t_h, bad[i], "count", NULL, &number, &err));
		FAILS(EINVAL, cgf_resource_register(t_h, "widgets", bad[i], NULL, &number, &err));
		CHECK(cgf_resource_register(t_h, bad[i], NULL, NULL, &number, NULL) < 0);
	}
	FAILS(EINVAL, cgf_resource_register(NULL, "widgets", "count", NULL, &number, &err));
	FAILS(EINVAL, cgf_resource_register(t_h, NULL, "count", NULL, &number, &err));
	FAILS(ENOENT, cgf_resource_register(t_h, "widgets", NULL, NULL, &number, &err));
	CHECK(number == 99);

	OK(cgf_resource_register(t_h, "kmemsize", NULL, NULL, &number, &err));
	CHECK(number == CGF_KMEMSIZE);
	OK(cgf_resource_register(t_h, "numtasks", "count", NULL, &number, &err));
	CHECK(number == CGF_NUMTASKS);
	OK(cgf_resource_register(t_h, "widgets", "boxes", NULL, &number, &err));
	CHECK(number == 5);
	OK(cgf_resource_register(t_h, "widgets", "boxes", NULL, NULL, &err));
	FAILS(EEXIST, cgf_resource_register(t_h, "widgets", "bytes", NULL, &number, &err));
	FAILS(EEXIST, cgf_resource_register(t_h, "numfiles", "bytes", NULL, &number, &err));

	/* Another handle and another process find it, and agree on the next. */
	h = t_open("");
	OK(cgf_resource_register(h, "widgets", NULL, NULL, &number, &err));
	CHECK(number == 5);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct cgf_hierarchy *own = t_open("");

		OK(cgf_resource_register(own, "widgets", "boxes", NULL, &number, &err));
		CHECK(number == 5);
		OK(cgf_resource_register(own, "gadgets", "bytes", NULL, &number, &err));
		CHECK(number == 6);
		t_end_part();
	}
	t_wait_part(pid);
	OK(cgf_resource_register(t_h, "gadgets", NULL, NULL, &number, &err));
	CHECK(number == 6);

	OK(cgf_group_open(h, "g", &same, &err));
	CHECK(cgf_charge(g, 6, 3, CGF_LIMIT) == 0);
	CHECK(cgf_charge(same, 6, 4, CGF_LIMIT) == 0);
	HELD(g, 6, 7);
	CHECK(cgf_charge(g, 7, 1, CGF_LIMIT) == -ENOENT);
	OK(cgf_write(g, "bc.gadgets.limit", "7", &err));
	CHECK(cgf_charge(g, 6, 1, CGF_LIMIT) == -ENOMEM);
	CHECK(cgf_uncharge(g, 6, 7) == 0);
	for (int i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "named%d", i);
		OK(cgf_resource_register(h, name, "count", NULL, &number, &err));
		CHECK(number == 7 + (uint32_t)i);
	}
	CHECK(OK(cgf_snapshot(g, NULL, 0, 0, NULL, &err)) == 16);
	cgf_group_free(same);
	cgf_hierarchy_free(h);
	t_remove(g);
	return T_END();
}
