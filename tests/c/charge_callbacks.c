/* R6.2: who is called when a charge crosses a barrier or meets a limit, how often, and with whose state. */
#include "bc.h"

struct calls {
	int barriers, limits, frees;
	char group[64];
	uint32_t resource;
	uint64_t amount, held;
	/* What the next limit_hit takes back, and from whom. */
	struct cgf_group *holder;
	uint64_t gives;
	int answer;
};

static void note(struct calls *calls, struct cgf_group *g, uint32_t resource, uint64_t amount)
{
	CHECK(cgf_group_path(g, calls->group, sizeof(calls->group), NULL) > 0);
	calls->resource = resource;
	calls->amount = amount;
}

static void barrier_hit(void *state, struct cgf_group *g, uint32_t resource, uint64_t amount)
{
	struct calls *calls = state;

	calls->barriers++;
	note(calls, g, resource, amount);
	/* Nothing is locked, and it has happened already. */
	CHECK(cgf_charge(g, CGF_PRIVVMPAGES, 1, CGF_LIMIT) == 0);
	CHECK(cgf_uncharge(g, CGF_PRIVVMPAGES, 1) == 0);
	calls->held = t_counter(g, resource).held;
}

static int limit_hit(void *state, struct cgf_group *g, uint32_t resource, uint64_t amount)
{
	struct calls *calls = state;

	calls->limits++;
	note(calls, g, resource, amount);
	if (calls->gives)
		CHECK(cgf_uncharge(calls->holder, resource, calls->gives) == 0);
	return calls->answer;
}

static void free_state(void *state)
{
	struct calls *calls = state;

	calls->frees++;
}

static struct cgf_resource_callbacks callbacks(struct calls *calls)
{
	return (struct cgf_resource_callbacks){
		.size = sizeof(struct cgf_resource_callbacks),
		.state = calls,
		.free = free_state,
		.barrier_hit = barrier_hit,
		.limit_hit = limit_hit,
	};
}

static void refused(struct cgf_group *g, struct calls *calls, int answer)
{
	int limits = calls->limits;
	uint64_t failcnt = t_counter(g, CGF_NUMFILES).failcnt;

	calls->answer = answer;
	CHECK(cgf_charge(calls->holder, CGF_NUMFILES, 9, CGF_LIMIT) == -EMFILE);
	CHECK(calls->limits == limits + 1 && t_counter(g, CGF_NUMFILES).failcnt == failcnt + 1);
}

/* Sizes of other versions, and what is refused leaves the state with the caller. */
static void sizes(struct calls *calls)
{
	struct {
		struct cgf_resource_callbacks callbacks;
		void *more;
	} newer = { callbacks(calls), NULL };
	struct cgf_resource_callbacks older = callbacks(calls);
	int frees = calls->frees;

	older.size -= 8;
	FAILS(EINVAL, cgf_resource_register(t_h, "numfiles", NULL, &older, NULL, &err));
	older.size = 0;
	FAILS(EINVAL, cgf_resource_register(t_h, "numfiles", NULL, &older, NULL, &err));
	older.size = 8192;
	FAILS(E2BIG, cgf_resource_register(t_h, "numfiles", NULL, &older, NULL, &err));
	older.size = sizeof(older);
	FAILS(ENOENT, cgf_resource_register(t_h, "no_such", NULL, &older, NULL, &err));
	FAILS(EEXIST, cgf_resource_register(t_h, "numfiles", "bytes", &older, NULL, &err));
	newer.callbacks.size = sizeof(newer);
	newer.more = calls;
	FAILS(E2BIG, cgf_resource_register(t_h, "numfiles", NULL, &newer.callbacks, NULL, &err));
	CHECK(calls->frees == frees);
	newer.more = NULL;
	OK(cgf_resource_register(t_h, "numfiles", NULL, &newer.callbacks, NULL, &err));
}

int main(int argc, char *argv[])
{
	struct calls first = { 0 }, second = { 0 };
	struct cgf_resource_callbacks given = callbacks(&first), none = { .size = sizeof(none) };
	struct cgf_hierarchy *h;
	struct cgf_group *above, *g, *same;
	uint32_t number = 7;

	(void)argc;
	T_BEGIN_WITH(T_BOUND);
	above = t_group("a");
	g = t_group("a/b");
	OK(cgf_set_limits(above, CGF_NUMFILES, 5, 10, &err));
	OK(cgf_resource_register(t_h, "numfiles", NULL, &given, &number, &err));
	CHECK(number == CGF_NUMFILES);

	CHECK(cgf_charge(g, CGF_NUMFILES, 5, CGF_LIMIT) == 0 && first.barriers == 0);
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == 0 && first.barriers == 1);
	CHECK(!strcmp(first.group, "/a") && first.resource == CGF_NUMFILES && first.amount == 1);
	CHECK(first.held == 6);
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == 0 && first.barriers == 1);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 4) == 0);
	CHECK(cgf_charge(g, CGF_NUMFILES, 3, CGF_FORCE) == 0 && first.barriers == 1);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 3) == 0);
	CHECK(cgf_charge(g, CGF_NUMFILES, 3, CGF_LIMIT) == 0 && first.barriers == 2 && first.amount == 3);
	CHECK(first.limits == 0);

	first.holder = g;
	refused(above, &first, 0);
	CHECK(!strcmp(first.group, "/a") && first.resource == CGF_NUMFILES && first.amount == 9);
	/* What lies is asked once all the same. */
	refused(above, &first, 1);
	/* And only 1 means that something was freed. */
	first.gives = 5;
	refused(above, &first, -ENOMEM);
	CHECK(cgf_charge(g, CGF_NUMFILES, 5, CGF_FORCE) == 0);
	refused(above, &first, 2);
	CHECK(cgf_charge(g, CGF_NUMFILES, 5, CGF_FORCE) == 0);
	first.answer = 1;
	CHECK(cgf_charge(g, CGF_NUMFILES, 9, CGF_LIMIT) == 0 && first.limits == 5);
	/* From 1 to 10: over the barrier again, and that is told last. */
	CHECK(first.barriers == 3 && first.amount == 9 && first.held == 10);
	HELD(above, CGF_NUMFILES, 10);
	CHECK(t_counter(above, CGF_NUMFILES).failcnt == 4);
	CHECK(cgf_charge(g, CGF_NUMFILES, 9, CGF_FORCE) == 0 && first.limits == 5);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 19) == 0);
	first.gives = 0;

	/* Only charges through this handle. */
	h = t_open("");
	OK(cgf_group_open(h, "a/b", &same, &err));
	CHECK(cgf_charge(same, CGF_NUMFILES, 11, CGF_LIMIT) == -EMFILE && first.limits == 5);
	given = callbacks(&second);
	OK(cgf_resource_register(h, "numfiles", "count", &given, NULL, &err));
	CHECK(cgf_charge(same, CGF_NUMFILES, 11, CGF_LIMIT) == -EMFILE);
	CHECK(first.limits == 5 && second.limits == 1 && second.frees == 0);
	/* The group's handle keeps them, and gives them back. */
	cgf_hierarchy_free(h);
	CHECK(cgf_charge(same, CGF_NUMFILES, 11, CGF_LIMIT) == -EMFILE);
	CHECK(second.limits == 2 && second.frees == 0);
	cgf_group_free(same);
	CHECK(second.frees == 1 && first.frees == 0);

	/* Looking one up leaves them, others take their place. */
	OK(cgf_resource_register(t_h, "numfiles", NULL, NULL, &number, &err));
	CHECK(first.frees == 0);
	sizes(&second);
	CHECK(first.frees == 1 && second.frees == 1);
	OK(cgf_resource_register(t_h, "numfiles", NULL, &none, NULL, &err));
	CHECK(second.frees == 2);
	CHECK(cgf_charge(g, CGF_NUMFILES, 11, CGF_LIMIT) == -EMFILE);
	CHECK(first.limits == 5 && second.limits == 2);

	t_remove(g);
	t_remove(above);
	return T_END();
}
