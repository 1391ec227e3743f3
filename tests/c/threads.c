/* One handle, several threads: each call is whole, and the last word counts. */
#include <pthread.h>
#include <stdatomic.h>

#include "t.h"

enum { THREADS = 4, ROUNDS = 40 };

static struct cgf_group *group;
static atomic_int frozen, cancelled;

static void *freeze_and_thaw(void *unused)
{
	struct cgf_error *why = NULL;

	(void)unused;
	for (int i = 0; i < ROUNDS; i++) {
		int result = cgf_freeze(group, 5000, 0, &why);

		if (result == 0)
			frozen++;
		else if (result == -ECANCELED)
			cancelled++;
		else
			t_fail(__FILE__, __LINE__, "freeze: %d, %s", result, cgf_error_message(why));
		cgf_error_free(why);
		why = NULL;
		result = cgf_state(group, &why);
		if (result < 0)
			t_fail(__FILE__, __LINE__, "state: %s", cgf_error_message(why));
		if (cgf_thaw(group, &why) < 0)
			t_fail(__FILE__, __LINE__, "thaw: %s", cgf_error_message(why));
		if (cgf_procs(group, NULL, 0, &why) != 3)
			t_fail(__FILE__, __LINE__, "procs: %s", cgf_error_message(why));
	}
	return NULL;
}

int main(int argc, char *argv[])
{
	pthread_t threads[THREADS];
	pid_t pids[3];

	(void)argc;
	T_BEGIN();
	group = t_group("g");
	for (int i = 0; i < 3; i++)
		pids[i] = t_shell(group, "while :; do :; done");

	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, freeze_and_thaw, NULL));
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK(frozen + cancelled == THREADS * ROUNDS && frozen > 0);
	CHECK(OK(cgf_state(group, &err)) == CGF_THAWED);
	OK(cgf_freeze(group, 5000, 0, &err));
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	OK(cgf_thaw(group, &err));

	t_remove(group);
	for (int i = 0; i < 3; i++)
		t_reap_killed(pids[i]);
	return T_END();
}
