/* R6.7: a charge is its process's: it survives an exec and ends with it; what a group keeps stays. */
#include <pthread.h>
#include <sys/syscall.h>

#include "bc.h"

static struct cgf_group *g;

/* A child that charges, says so, and waits to be killed or to be let go on. */
static pid_t charger(int go_on)
{
	int ends[2];
	pid_t pid;
	char done;

	CHECK(!pipe2(ends, O_CLOEXEC));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct cgf_hierarchy *own = t_open("");
		struct cgf_group *same;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		OK(cgf_group_open(own, "a/b", &same, &err));
		CHECK(cgf_charge(same, CGF_NUMFILES, 3, CGF_LIMIT) == 0);
		CHECK(write(ends[1], "", 1) == 1);
		if (go_on)
			execlp("sleep", "sleep", "100", (char *)NULL);
		for (;;)
			pause();
	}
	close(ends[1]);
	CHECK(read(ends[0], &done, 1) == 1);
	/* Closed by the exec, or with the process. */
	if (go_on)
		CHECK(read(ends[0], &done, 1) == 0);
	close(ends[0]);
	return pid;
}

static void end(pid_t pid)
{
	CHECK(!kill(pid, SIGKILL));
	t_reap_killed(pid);
}

static void *charge_in_thread(void *unused)
{
	(void)unused;
	CHECK(cgf_charge(g, CGF_NUMFILES, 4, CGF_LIMIT) == 0);
	return NULL;
}

int main(int argc, char *argv[])
{
	struct cgf_amount kept[] = { { CGF_NUMFILES, 2 }, { CGF_KMEMSIZE, 7 } };
	struct cgf_group *above;
	pthread_t thread;
	pid_t pid;

	(void)argc;
	T_BEGIN_WITH(T_BOUND);
	/* Whether somebody has died is asked of a pidfd. */
	if (getenv("CGF_UNDER") && syscall(SYS_pidfd_open, getpid(), 0) < 0)
		SKIP("no pidfd_open here");
	above = t_group("a");
	g = t_group("a/b");
	OK(cgf_set_limits(above, CGF_NUMFILES, CGF_NO_LIMIT, 10, &err));

	/* Killed. */
	pid = charger(0);
	HELD(g, CGF_NUMFILES, 3);
	CHECK(cgf_charge(g, CGF_NUMFILES, 8, CGF_LIMIT) == -EMFILE);
	end(pid);
	CHECK(cgf_charge(g, CGF_NUMFILES, 10, CGF_LIMIT) == 0);
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == -EMFILE);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 10) == 0);
	HELD(above, CGF_NUMFILES, 0);

	/* Dead, but not waited for: a zombie holds nothing. */
	pid = charger(0);
	CHECK(!kill(pid, SIGKILL));
	t_await_held(above, CGF_NUMFILES, 0);
	t_reap_killed(pid);

	/* Another program by now. */
	pid = charger(1);
	HELD(g, CGF_NUMFILES, 3);
	CHECK(cgf_charge(g, CGF_NUMFILES, 7, CGF_LIMIT) == 0);
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == -EMFILE);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 7) == 0);
	end(pid);
	HELD(g, CGF_NUMFILES, 0);

	/* Stopped: what it holds it holds, and nobody waits for it. */
	pid = charger(0);
	CHECK(!kill(pid, SIGSTOP));
	CHECK(cgf_charge(g, CGF_NUMFILES, 7, CGF_LIMIT) == 0);
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == -EMFILE);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 7) == 0);
	HELD(g, CGF_NUMFILES, 3);
	end(pid);
	HELD(g, CGF_NUMFILES, 0);

	/* A thread's is the process's. */
	CHECK(!pthread_create(&thread, NULL, charge_in_thread, NULL));
	CHECK(!pthread_join(thread, NULL));
	HELD(g, CGF_NUMFILES, 4);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 4) == 0);
	HELD(g, CGF_NUMFILES, 0);

	/* A child has none of it, and takes none back. */
	CHECK(cgf_charge(g, CGF_NUMFILES, 5, CGF_LIMIT) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == -ECHILD);
		CHECK(cgf_uncharge(g, CGF_NUMFILES, 5) == -ECHILD);
		FAILS(ECHILD, cgf_charge_many(g, kept, 2, CGF_LIMIT, &err));
		FAILS(ECHILD, cgf_uncharge_many(g, kept, 2, &err));
		FAILS(ECHILD, cgf_charge_kept(g, kept, 2, CGF_LIMIT, &err));
		FAILS(ECHILD, cgf_charge_up_to(g, CGF_NUMFILES, 1, CGF_LIMIT, &err));
		FAILS(ECHILD, cgf_set_limits(g, CGF_NUMFILES, 1, 1, &err));
		FAILS(ECHILD, cgf_snapshot(g, NULL, 0, 0, NULL, &err));
		FAILS(ECHILD, cgf_resource_register(t_h, "numfiles", NULL, NULL, NULL, &err));
		FAILS(ECHILD, cgf_resource_register(t_h, "widgets", "count", NULL, NULL, &err));
		t_end_part();
	}
	t_wait_part(pid);
	HELD(g, CGF_NUMFILES, 5);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 5) == 0);

	/* What the group keeps outlives whoever charged it. */
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct cgf_hierarchy *own = t_open("");
		struct cgf_group *same;

		OK(cgf_group_open(own, "a/b", &same, &err));
		OK(cgf_charge_kept(same, kept, 2, CGF_LIMIT, &err));
		t_end_part();
	}
	t_wait_part(pid);
	HELD(g, CGF_NUMFILES, 2);
	HELD(above, CGF_KMEMSIZE, 7);
	FAILS(EBUSY, cgf_group_remove(g, CGF_REMOVE_KILL, &err));
	CHECK(cgf_charge(g, CGF_NUMFILES, 9, CGF_LIMIT) == -EMFILE);
	/* One's own goes first. */
	CHECK(cgf_charge(g, CGF_NUMFILES, 1, CGF_LIMIT) == 0);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 3) == 0);
	CHECK(cgf_uncharge(g, CGF_KMEMSIZE, 7) == 0);
	t_reads(g, "bc.underflow", "0\n");
	HELD(above, CGF_NUMFILES, 0);
	HELD(above, CGF_KMEMSIZE, 0);

	t_remove(g);
	t_remove(above);
	return T_END();
}
