/* What the tests of charges share. */
#ifndef BC_H
#define BC_H

#include <inttypes.h>

#include "t.h"

#define T_BOUND ",freezer,signal,beancounter"

/* The figures of one resource, by a snapshot. */
static T_UNUSED struct cgf_beancounter t_counter(const struct cgf_group *group, uint32_t resource)
{
	struct cgf_beancounter counters[16];
	long total = OK(cgf_snapshot(group, counters, sizeof(counters[0]), 16, NULL, &err));

	CHECK(total > (long)resource && total <= 16 && counters[resource].resource == resource);
	return counters[resource];
}

#define HELD(group, resource, amount) t_held((group), (resource), (amount), __FILE__, __LINE__)

static T_UNUSED void t_held(const struct cgf_group *group, uint32_t resource, uint64_t amount, const char *file,
			    int line)
{
	uint64_t held = t_counter(group, resource).held;

	if (held != amount)
		t_fail(file, line, "%" PRIu64 " are held, not %" PRIu64, held, amount);
}

/* The end of a forked part. A child does not have the memory of the counters, and a tool
 * that looks through all memory at the end of a program takes minutes to find out. */
__attribute__((noreturn)) static T_UNUSED void t_end_part(void)
{
	if (getenv("CGF_UNDER"))
		execlp("true", "true", (char *)NULL);
	_exit(0);
}

/* Within five seconds: a process that was killed is dead a moment later. */
static T_UNUSED void t_await_held(const struct cgf_group *group, uint32_t resource, uint64_t amount)
{
	for (int i = 0; i < 5000 && t_counter(group, resource).held != amount; i++)
		t_sleep_ms(1);
	HELD(group, resource, amount);
}

#endif
