/*
 * What the tests put into groups: one program, one part to play an invocation.
 *
 * An actor that is in place calls itself "ready" (/proc/PID/comm), which is how
 * a test waits for it without a pipe or a pause.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void ready(void) { prctl(PR_SET_NAME, "ready"); }

static void wait_for_ever(void)
{
	for (;;)
		pause();
}

static void *spin(void *unused)
{
	(void)unused;
	for (volatile uint64_t n = 0;; n++)
		;
	return NULL;
}

static void part_sleep(int n)
{
	(void)n;
	ready();
	wait_for_ever();
}

static void part_spin(int n)
{
	(void)n;
	ready();
	spin(NULL);
}

/* n children that sleep, and their parent. */
static void part_tree(int n)
{
	for (int i = 0; i < n; i++) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			part_sleep(0);
		}
	}
	ready();
	wait_for_ever();
}

/* n threads that spin, beside the first, which sleeps. */
static void part_threads(int n)
{
	for (int i = 0; i < n; i++) {
		pthread_t thread;
		pthread_create(&thread, NULL, spin, NULL);
	}
	ready();
	wait_for_ever();
}

static void *sleep_on(void *unused)
{
	wait_for_ever();
	return unused;
}

/* n threads in all, which sleep; one that cannot have them does not get ready. */
static void part_sleepers(int n)
{
	for (int i = 1; i < n; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, sleep_on, NULL))
			_exit(2);
	}
	ready();
	wait_for_ever();
}

/* n threads that sleep, and a first one that has ended. */
static void part_headless(int n)
{
	for (int i = 0; i < n; i++) {
		pthread_t thread;
		pthread_create(&thread, NULL, sleep_on, NULL);
	}
	ready();
	pthread_exit(NULL);
}

/* Threads that come and go for ever, beside the first. */
static void *be_brief(void *unused) { return unused; }

static void part_thread_storm(int n)
{
	(void)n;
	ready();
	for (;;) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, be_brief, NULL) == 0)
			pthread_join(thread, NULL);
	}
}

/*
 * Every process forks for as long as fewer than n were born, so that n are
 * there soon; then each goes on forking children that exit at once.
 */
static void part_forkbomb(int n)
{
	int *born = mmap(NULL, sizeof *born, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	signal(SIGCHLD, SIG_IGN);
	__atomic_store_n(born, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		if (__atomic_add_fetch(born, 1, __ATOMIC_SEQ_CST) <= n) {
			if (fork() < 0)
				__atomic_sub_fetch(born, 1, __ATOMIC_SEQ_CST);
			continue;
		}
		__atomic_sub_fetch(born, 1, __ATOMIC_SEQ_CST);
		ready();
		if (fork() == 0)
			_exit(0);
		sched_yield();
	}
}

/* One that forks short-lived children without end. */
static void part_fork_storm(int n)
{
	(void)n;
	signal(SIGCHLD, SIG_IGN);
	ready();
	for (;;)
		if (fork() == 0)
			_exit(0);
}

/*
 * Forks as fast as it can children that live for a moment and fork one of their
 * own, n of them at a time.
 */
static void part_brood(int n)
{
	int *alive = mmap(NULL, sizeof *alive, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	signal(SIGCHLD, SIG_IGN);
	ready();
	for (;;) {
		if (__atomic_load_n(alive, __ATOMIC_SEQ_CST) >= n) {
			sched_yield();
			continue;
		}
		__atomic_add_fetch(alive, 1, __ATOMIC_SEQ_CST);
		if (fork() == 0) {
			if (fork() == 0) {
				usleep(3000);
				_exit(0);
			}
			/* Nobody is left to an ancestor: the wait ends when both are done. */
			while (wait(NULL) > 0)
				;
			__atomic_sub_fetch(alive, 1, __ATOMIC_SEQ_CST);
			_exit(0);
		}
	}
}

/* Executes itself again and again, now and then from a thread. */
static void part_exec_storm(int n)
{
	char next[16];
	ready();
	snprintf(next, sizeof next, "%d", n + 1);
	execl("/proc/self/exe", "actor", "exec_storm", next, (char *)NULL);
}

/* A parent in vfork, and its child. */
static void part_vfork(int n)
{
	(void)n;
	ready();
	if (vfork() == 0) {
		for (;;)
			pause();
	}
	wait_for_ever();
}

static void part_stopped(int n)
{
	(void)n;
	ready();
	raise(SIGSTOP);
	wait_for_ever();
}

/* Ends by itself after n milliseconds. */
static void part_nap(int n)
{
	struct timespec length = { .tv_sec = n / 1000, .tv_nsec = n % 1000 * 1000000L };
	ready();
	while (nanosleep(&length, &length) == -1 && errno == EINTR)
		;
}

/* A child that is dead and not waited for, and its parent. */
static void part_zombie(int n)
{
	(void)n;
	if (fork() == 0)
		_exit(0);
	ready();
	wait_for_ever();
}

/* Counts SIGUSR1 as its threads' names would: its own name is the count. */
static volatile sig_atomic_t caught;

static void count(int signal)
{
	(void)signal;
	caught++;
}

static void part_count(int n)
{
	(void)n;
	sigset_t blocked, none;
	sigemptyset(&none);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	signal(SIGUSR1, count);
	ready();
	for (;;) {
		sigsuspend(&none);
		char name[16];
		snprintf(name, sizeof name, "caught %d", (int)caught);
		prctl(PR_SET_NAME, name);
	}
}

/* Lets SIGTERM wait. */
static void part_deaf(int n)
{
	sigset_t blocked;
	(void)n;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	ready();
	wait_for_ever();
}

/* Timers that expire every few milliseconds: by a signal, and by a descriptor. */
static void *read_timer(void *timer)
{
	for (uint64_t expired;;)
		if (read(*(int *)timer, &expired, sizeof expired) < 0)
			return NULL;
}

static void part_timers(int n)
{
	static int timer;
	pthread_t thread;
	struct timeval often = { .tv_usec = 3000 };
	struct itimerval by_signal = { often, often };
	struct itimerspec by_file = { { .tv_nsec = 3000000 }, { .tv_nsec = 3000000 } };
	(void)n;
	signal(SIGALRM, count);
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	if (timer < 0 || timerfd_settime(timer, 0, &by_file, NULL) || setitimer(ITIMER_REAL, &by_signal, NULL))
		_exit(2);
	if (pthread_create(&thread, NULL, read_timer, &timer))
		_exit(2);
	ready();
	wait_for_ever();
}

/* Stops process n as a debugger does, and lets it go when it is itself told to. */
static void part_trace(int n)
{
	int status;
	sigset_t wanted;
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	if (ptrace(PTRACE_SEIZE, n, NULL, NULL) || ptrace(PTRACE_INTERRUPT, n, NULL, NULL))
		_exit(2);
	if (waitpid(n, &status, __WALL) != n || !WIFSTOPPED(status))
		_exit(3);
	ready();
	sigwait(&wanted, &status);
	ptrace(PTRACE_DETACH, n, NULL, NULL);
}

/* Asks a file system about a file: blocks if its server never answers. */
static void part_ask(const char *path)
{
	struct stat found;
	ready();
	stat(path, &found);
	wait_for_ever();
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*play)(int);
	} parts[] = {
		{ "sleep", part_sleep },	     { "spin", part_spin },
		{ "tree", part_tree },		     { "threads", part_threads },
		{ "thread_storm", part_thread_storm }, { "forkbomb", part_forkbomb },
		{ "fork_storm", part_fork_storm },   { "exec_storm", part_exec_storm },
		{ "vfork", part_vfork },	     { "stopped", part_stopped },
		{ "nap", part_nap },		     { "zombie", part_zombie },
		{ "count", part_count },	     { "trace", part_trace },
		{ "headless", part_headless },	     { "brood", part_brood },
		{ "sleepers", part_sleepers },	     { "deaf", part_deaf },
		{ "timers", part_timers },
	};
	if (argc < 2)
		return 64;
	if (strcmp(argv[1], "ask") == 0 && argc == 3)
		part_ask(argv[2]);
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (strcmp(argv[1], parts[i].name) == 0)
			parts[i].play(argc > 2 ? atoi(argv[2]) : 0);
	return 0;
}
