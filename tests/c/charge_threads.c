/* R6.2, R6.9: many threads and processes on one limit: never more than it, and all of it. */
#include <pthread.h>
#include <stdatomic.h>

#include "bc.h"

enum { THREADS = 4, PROCESSES = 2, LIMIT = 7 };

static struct cgf_group *g;
static atomic_long granted;

/* Takes what there is one by one, and gives all of it back, over and over. */
static void hammer(struct cgf_group *group, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		int mine = 0, result;

		while ((result = cgf_charge(group, CGF_NUMFILES, 1, CGF_LIMIT)) == 0) {
			mine++;
			granted++;
			if (mine > LIMIT)
				t_fail(__FILE__, __LINE__, "%d were granted of %d", mine, LIMIT);
		}
		if (result != -EMFILE)
			t_fail(__FILE__, __LINE__, "charge: %d", result);
		while (mine--)
			if (cgf_uncharge(group, CGF_NUMFILES, 1))
				t_fail(__FILE__, __LINE__, "uncharge");
	}
}

static void *in_thread(void *rounds)
{
	hammer(g, *(int *)rounds);
	return NULL;
}

int main(int argc, char *argv[])
{
	int rounds = getenv("CGF_FEW") ? 20 : 300;
	pthread_t threads[THREADS];
	pid_t pids[PROCESSES];

	(void)argc;
	T_BEGIN_WITH(T_BOUND);
	g = t_group("g");
	OK(cgf_set_limits(g, CGF_NUMFILES, 3, LIMIT, &err));
	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		CHECK(pids[i] >= 0);
		if (!pids[i]) {
			struct cgf_hierarchy *own = t_open("");
			struct cgf_group *same;

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			OK(cgf_group_open(own, "g", &same, &err));
			hammer(same, rounds);
			t_end_part();
		}
	}
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, in_thread, &rounds));
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_join(threads[i], NULL));
	for (int i = 0; i < PROCESSES; i++)
		t_wait_part(pids[i]);
	CHECK(granted > 0);
	CHECK(t_counter(g, CGF_NUMFILES).maxheld == LIMIT);
	HELD(g, CGF_NUMFILES, 0);
	CHECK(OK(cgf_charge_up_to(g, CGF_NUMFILES, 100, CGF_LIMIT, &err)) == LIMIT);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, LIMIT) == 0);
	t_reads(g, "bc.underflow", "0\n");
	t_remove(g);
	return T_END();
}
