/* R6.2-R6.4: what a charge does, what refuses it, and what it says. */
#include "bc.h"

static void severities(struct cgf_group *g)
{
	OK(cgf_set_limits(g, CGF_NUMFILES, 5, 10, &err));
	CHECK(cgf_charge(g, CGF_NUMFILES, 5, CGF_BARRIER) == 0);
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_BARRIER) == -EMFILE);
	CHECK(cgf_charge(g, CGF_NUMFILES, 5, CGF_LIMIT) == 0);
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == -EMFILE);
	CHECK(cgf_charge(g, CGF_NUMFILES, 0, CGF_LIMIT) == 0);
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_FORCE) == 0);
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, 3) == -EINVAL && cgf_charge(g, CGF_NUMFILES, 1, -1) == -EINVAL);
	CHECK(t_counter(g, CGF_NUMFILES).failcnt == 2);
	HELD(g, CGF_NUMFILES, 11);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 11) == 0);
	HELD(g, CGF_NUMFILES, 0);
	OK(cgf_set_limits(g, CGF_NUMFILES, CGF_NO_LIMIT, CGF_NO_LIMIT, &err));
	FAILS(EINVAL, cgf_set_limits(g, CGF_NUMFILES, 2, 1, &err));
	FAILS(EINVAL, cgf_set_limits(g, CGF_NUMFILES, 0, ((uint64_t)1 << 48) + 1, &err));
	FAILS(EINVAL, cgf_set_limits(g, CGF_NUMFILES, UINT64_MAX, UINT64_MAX, &err));
}

static void amounts(struct cgf_group *g)
{
	static const uint64_t bad[] = { ((uint64_t)1 << 48) + 1, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX };
	struct cgf_amount one;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		one = (struct cgf_amount){ CGF_KMEMSIZE, bad[i] };
		for (int severity = CGF_BARRIER; severity <= CGF_FORCE; severity++) {
			CHECK(cgf_charge(g, CGF_KMEMSIZE, bad[i], severity) == -EINVAL);
			FAILS(EINVAL, cgf_charge_many(g, &one, 1, severity, &err));
			FAILS(EINVAL, cgf_charge_kept(g, &one, 1, severity, &err));
			FAILS(EINVAL, cgf_charge_up_to(g, CGF_KMEMSIZE, bad[i], severity, &err));
		}
		CHECK(cgf_uncharge(g, CGF_KMEMSIZE, bad[i]) == -EINVAL);
		FAILS(EINVAL, cgf_uncharge_many(g, &one, 1, &err));
	}
	HELD(g, CGF_KMEMSIZE, 0);
	CHECK(cgf_charge(g, CGF_KMEMSIZE, (uint64_t)1 << 48, CGF_LIMIT) == 0);
	CHECK(OK(cgf_charge_up_to(g, CGF_PRIVVMPAGES, (uint64_t)1 << 48, CGF_LIMIT, &err)) == 1L << 48);
	CHECK(cgf_uncharge(g, CGF_KMEMSIZE, (uint64_t)1 << 48) == 0);
	CHECK(cgf_uncharge(g, CGF_PRIVVMPAGES, (uint64_t)1 << 48) == 0);
}

static void resources(struct cgf_group *g)
{
	static const uint32_t bad[] = { 5, 65536, UINT32_MAX };
	struct cgf_amount wide = { UINT64_MAX, 1 }, some = { (uint64_t)1 << 32, 1 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(cgf_charge(g, bad[i], 1, CGF_LIMIT) == -ENOENT);
		CHECK(cgf_uncharge(g, bad[i], 1) == -ENOENT);
		FAILS(ENOENT, cgf_charge_up_to(g, bad[i], 1, CGF_LIMIT, &err));
		FAILS(ENOENT, cgf_set_limits(g, bad[i], 1, 1, &err));
	}
	FAILS(ENOENT, cgf_charge_many(g, &wide, 1, CGF_LIMIT, &err));
	FAILS(ENOENT, cgf_uncharge_many(g, &some, 1, &err));
	FAILS(ENOENT, cgf_charge_kept(g, &some, 1, CGF_FORCE, &err));
	HELD(g, CGF_KMEMSIZE, 0);
}

/* All or none, and the message names the level and the resource. */
static void several(struct cgf_group *above, struct cgf_group *g)
{
	struct cgf_amount both[] = { { CGF_NUMFILES, 2 }, { CGF_KMEMSIZE, 100 } };

	OK(cgf_set_limits(above, CGF_KMEMSIZE, CGF_NO_LIMIT, 150, &err));
	OK(cgf_charge_many(g, both, 2, CGF_LIMIT, &err));
	CHECK(cgf_charge_many(g, both, 2, CGF_LIMIT, &err) == -ENOMEM);
	CHECK(cgf_error_errno(err) == ENOMEM && cgf_error_blockers(err, NULL, 0, 0) == 0);
	CHECK(strstr(cgf_error_message(err), "/a ") && strstr(cgf_error_message(err), "kmemsize"));
	CHECK(strstr(cgf_error_message(err), "150") && strstr(cgf_error_message(err), "100"));
	cgf_error_free(err);
	err = NULL;
	HELD(g, CGF_NUMFILES, 2);
	HELD(above, CGF_KMEMSIZE, 100);
	CHECK(t_counter(above, CGF_KMEMSIZE).failcnt == 1 && t_counter(g, CGF_KMEMSIZE).failcnt == 0);
	CHECK(t_counter(above, CGF_NUMFILES).failcnt == 0);
	CHECK(OK(cgf_charge_up_to(g, CGF_KMEMSIZE, 100, CGF_LIMIT, &err)) == 50);
	CHECK(OK(cgf_charge_up_to(g, CGF_KMEMSIZE, 100, CGF_LIMIT, &err)) == 0);
	CHECK(t_counter(above, CGF_KMEMSIZE).failcnt == 2);
	both[1].amount = 150;
	OK(cgf_uncharge_many(g, both, 2, &err));
	/* The same one twice is their sum. */
	both[0] = both[1] = (struct cgf_amount){ CGF_KMEMSIZE, 75 };
	OK(cgf_charge_many(g, both, 2, CGF_LIMIT, &err));
	HELD(g, CGF_KMEMSIZE, 150);
	OK(cgf_uncharge_many(g, both, 2, &err));
	both[1].amount = 76;
	FAILS(ENOMEM, cgf_charge_many(g, both, 2, CGF_LIMIT, &err));
	OK(cgf_charge_many(g, NULL, 0, CGF_LIMIT, &err));
	OK(cgf_uncharge_many(g, both, 0, &err));
	HELD(above, CGF_KMEMSIZE, 0);
	HELD(above, CGF_NUMFILES, 0);
}

static void nulls(struct cgf_group *g)
{
	struct cgf_group *const none = NULL;
	struct cgf_amount one = { CGF_NUMFILES, 1 };

	CHECK(cgf_charge(none, CGF_NUMFILES, 1, CGF_LIMIT) == -EINVAL);
	CHECK(cgf_uncharge(none, CGF_NUMFILES, 1) == -EINVAL);
	FAILS(EINVAL, cgf_charge_many(none, &one, 1, CGF_LIMIT, &err));
	FAILS(EINVAL, cgf_charge_many(g, NULL, 1, CGF_LIMIT, &err));
	FAILS(EINVAL, cgf_charge_many(g, &one, 1, 7, &err));
	FAILS(EINVAL, cgf_charge_many(g, &one, SIZE_MAX / 8, CGF_LIMIT, &err));
	FAILS(EINVAL, cgf_uncharge_many(none, &one, 1, &err));
	FAILS(EINVAL, cgf_uncharge_many(g, NULL, 1, &err));
	FAILS(EINVAL, cgf_charge_kept(none, &one, 1, CGF_LIMIT, &err));
	FAILS(EINVAL, cgf_charge_kept(g, NULL, 1, CGF_LIMIT, &err));
	FAILS(EINVAL, cgf_charge_kept(g, &one, 1, -1, &err));
	FAILS(EINVAL, cgf_charge_up_to(none, CGF_NUMFILES, 1, CGF_LIMIT, &err));
	FAILS(EINVAL, cgf_charge_up_to(g, CGF_NUMFILES, 1, 7, &err));
	FAILS(EINVAL, cgf_set_limits(none, CGF_NUMFILES, 1, 1, &err));
	CHECK(cgf_charge_up_to(none, CGF_NUMFILES, 1, CGF_LIMIT, NULL) == -EINVAL);
	HELD(g, CGF_NUMFILES, 0);
}

/* In a hierarchy that is bound to something else. */
static void unbound(void)
{
	struct cgf_hierarchy *h = t_other("");
	struct cgf_amount one = { CGF_NUMFILES, 1 };
	struct cgf_group *g;

	OK(cgf_group_create(h, "g", &g, &err));
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == -EOPNOTSUPP);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 1) == -EOPNOTSUPP);
	FAILS(EOPNOTSUPP, cgf_charge_many(g, &one, 1, CGF_LIMIT, &err));
	FAILS(EOPNOTSUPP, cgf_snapshot(g, NULL, 0, 0, NULL, &err));
	FAILS(EOPNOTSUPP, cgf_resource_register(h, "numfiles", NULL, NULL, NULL, &err));
	t_remove(g);
	OK(cgf_hierarchy_unmount(h, &err));
	cgf_hierarchy_free(h);
}

int main(int argc, char *argv[])
{
	struct cgf_group *above, *g;

	(void)argc;
	T_BEGIN_WITH(T_BOUND);
	above = t_group("a");
	g = t_group("a/b");
	severities(g);
	amounts(g);
	resources(g);
	several(above, g);
	nulls(g);
	unbound();
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == 0);
	FAILS(EBUSY, cgf_group_remove(g, 0, &err));
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 1) == 0);
	OK(cgf_group_remove(g, 0, &err));
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == -ENODEV);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 1) == -ENODEV);
	FAILS(ENODEV, cgf_snapshot(g, NULL, 0, 0, NULL, &err));
	cgf_group_free(g);
	t_remove(above);
	return T_END();
}
