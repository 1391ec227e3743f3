/*
 * What a charge is measured against: each the smallest program that counts up and
 * down again, with a limit where it has one. All but the first two could replace
 * the library's counters somewhere, and all lack something that these have.
 *
 *     yardsticks PROCESSES HIERARCHY OPTIONS
 *
 * obeys lines "WAY PROCESSES START LENGTH" on stdin: so many processes begin when the
 * monotonic clock shows START nanoseconds, and go on for LENGTH. It answers one line for
 * each: pairs, nanoseconds, whether the scheduler interfered, and 0.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <time.h>
#include <unistd.h>

#include "yardsticks.h"

enum { MOST = 64, LEVELS = 3 };

/* Far above what is charged: nothing here is ever refused. */
static const long far_limit = 1L << 40;

struct line {
	_Alignas(128) atomic_long value;
};

/* A level of page_counter: what changes and what does not lie apart. */
struct level {
	_Alignas(128) atomic_long usage;
	atomic_long watermark;
	_Alignas(128) long max;
};

struct beancounter {
	_Alignas(128) atomic_int lock;
	unsigned long held, maxheld, minheld, barrier, limit, failcnt;
};

struct guarded {
	_Alignas(128) pthread_mutex_t mutex;
	long held, limit;
};

struct shared {
	struct line own[MOST], one;
	struct level levels[LEVELS];
	struct beancounter beancounter;
	struct guarded guarded;
	int semaphore;
	_Alignas(128) struct {
		char way[32];
		int64_t start, length;
	} order;
	struct {
		long pairs, nanoseconds;
		int disturbed;
	} answers[MOST];
};

static struct shared *shared;
static const char *hierarchy, *options;
static int me;

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* An atomic on a line that nobody else writes. */
static void own_line(int pairs)
{
	atomic_long *value = &shared->own[me].value;

	while (pairs--) {
		atomic_fetch_add(value, 1);
		atomic_fetch_sub(value, 1);
	}
}

/* One on a line that all write, and no limit. */
static void shared_line(int pairs)
{
	while (pairs--) {
		atomic_fetch_add(&shared->one.value, 1);
		atomic_fetch_sub(&shared->one.value, 1);
	}
}

/* page_counter's way: add at each level, look, and take back if it is too much. */
static bool try_charge(int levels, long amount)
{
	for (int i = 0; i < levels; i++) {
		struct level *level = &shared->levels[i];
		long usage = atomic_fetch_add(&level->usage, amount) + amount;

		if (usage > level->max) {
			for (; i >= 0; i--)
				atomic_fetch_sub(&shared->levels[i].usage, amount);
			return false;
		}
		if (usage > atomic_load_explicit(&level->watermark, memory_order_relaxed))
			atomic_store_explicit(&level->watermark, usage, memory_order_relaxed);
	}
	return true;
}

static void with_levels(int levels, int pairs)
{
	while (pairs--) {
		if (!try_charge(levels, 1))
			errx(1, "refused");
		for (int i = 0; i < levels; i++)
			atomic_fetch_sub(&shared->levels[i].usage, 1);
	}
}

static void one_level(int pairs)
{
	with_levels(1, pairs);
}

static void three_levels(int pairs)
{
	with_levels(LEVELS, pairs);
}

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb");
#endif
}

/* The way of 2006: a spinlock, barrier and limit, the most and the least. */
static void spin_lock(atomic_int *lock)
{
	while (atomic_exchange_explicit(lock, 1, memory_order_acquire))
		while (atomic_load_explicit(lock, memory_order_relaxed))
			relax();
}

static void spinlock(int pairs)
{
	struct beancounter *bc = &shared->beancounter;

	while (pairs--) {
		unsigned long held;

		spin_lock(&bc->lock);
		held = bc->held + 1;
		if (held > bc->limit || held > bc->barrier) {
			bc->failcnt++;
			errx(1, "refused");
		}
		bc->held = held;
		if (held > bc->maxheld)
			bc->maxheld = held;
		atomic_store_explicit(&bc->lock, 0, memory_order_release);

		spin_lock(&bc->lock);
		bc->held--;
		if (bc->held < bc->minheld)
			bc->minheld = bc->held;
		atomic_store_explicit(&bc->lock, 0, memory_order_release);
	}
}

/* A mutex that tells when its holder died, with whatever it left half done. */
static void lock(pthread_mutex_t *mutex)
{
	int result = pthread_mutex_lock(mutex);

	if (result == EOWNERDEAD)
		result = pthread_mutex_consistent(mutex);
	if (result)
		errx(1, "pthread_mutex_lock: %s", strerror(result));
}

static void robust_mutex(int pairs)
{
	struct guarded *guarded = &shared->guarded;

	while (pairs--) {
		lock(&guarded->mutex);
		if (guarded->held + 1 > guarded->limit)
			errx(1, "refused");
		guarded->held++;
		pthread_mutex_unlock(&guarded->mutex);
		lock(&guarded->mutex);
		guarded->held--;
		pthread_mutex_unlock(&guarded->mutex);
	}
}

/* System V's semaphore, which the kernel gives back when the holder dies. */
static void semop_undo(int pairs)
{
	struct sembuf take = { .sem_op = -1, .sem_flg = SEM_UNDO | IPC_NOWAIT };
	struct sembuf give = { .sem_op = 1, .sem_flg = SEM_UNDO };

	while (pairs--) {
		must(semop(shared->semaphore, &take, 1), "semop");
		must(semop(shared->semaphore, &give, 1), "semop");
	}
}

#ifdef THROUGH_C
static void through_c(int pairs)
{
	charge_through_c(hierarchy, options, "far", pairs);
}
#endif

static const struct way {
	const char *name;
	void (*run)(int pairs);
} ways[] = {
	{ "own-line", own_line },	  { "shared-line", shared_line },   { "one-level", one_level },
	{ "three-levels", three_levels }, { "spinlock", spinlock },	    { "robust-mutex", robust_mutex },
	{ "semop-undo", semop_undo },
#ifdef THROUGH_C
	{ "through-c", through_c },
#endif
};

static const struct way *find(const char *name)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (strcmp(ways[i].name, name) == 0)
			return &ways[i];
	errx(1, "there is no way \"%s\"", name);
}

static long preemptions(void)
{
	struct rusage usage;

	must(getrusage(RUSAGE_SELF, &usage), "getrusage");
	return usage.ru_nivcsw;
}

static void work(int begin, int done)
{
	char byte;

	while (must(read(begin, &byte, 1), "read") == 1) {
		const struct way *way = find(shared->order.way);
		int64_t start = shared->order.start, began, time;
		long pairs = 0, before;

		/* What it prepares and touches for the first time is not measured. */
		way->run(10);
		before = preemptions();
		while ((began = now()) < start)
			;
		do {
			way->run(1000);
			pairs += 1000;
			time = now() - began;
		} while (time < shared->order.length);
		shared->answers[me].pairs = pairs;
		shared->answers[me].nanoseconds = time;
		shared->answers[me].disturbed = preemptions() != before || began - start > 50000;
		must(write(done, &byte, 1), "write");
	}
	_exit(0);
}

/* Each on a CPU of its own, as long as there are any. */
static void settle(int number)
{
	cpu_set_t all, one;
	int left;

	CPU_ZERO(&one);
	must(sched_getaffinity(0, sizeof(all), &all), "sched_getaffinity");
	left = number % CPU_COUNT(&all);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && left-- == 0)
			CPU_SET(cpu, &one);
	must(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
}

static void set_up(void)
{
	union {
		int val;
	} room = { .val = 32767 };
	pthread_mutexattr_t attributes;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		err(1, "mmap");
	for (int i = 0; i < LEVELS; i++)
		shared->levels[i].max = far_limit;
	shared->beancounter.barrier = shared->beancounter.limit = far_limit;
	shared->guarded.limit = far_limit;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&shared->guarded.mutex, &attributes);
	shared->semaphore = must(semget(IPC_PRIVATE, 1, 0600), "semget");
	must(semctl(shared->semaphore, 0, SETVAL, room), "semctl");
}

/* It has said why. Whoever waits for answers must not wait for this one. */
static void a_worker_failed(int signal)
{
	(void)signal;
	semctl(shared->semaphore, 0, IPC_RMID);
	_exit(1);
}

int main(int argc, char **argv)
{
	int count, done[2], begin[MOST], processes;
	long long start, length;

	if (argc != 4 || (count = atoi(argv[1])) < 1 || count > MOST) {
		fprintf(stderr, "usage: yardsticks PROCESSES HIERARCHY OPTIONS\n");
		return 2;
	}
	hierarchy = argv[2];
	options = argv[3];
	set_up();
	signal(SIGCHLD, a_worker_failed);
	must(pipe(done), "pipe");
	for (int i = 0; i < count; i++) {
		int ends[2];

		must(pipe2(ends, O_CLOEXEC), "pipe");
		begin[i] = ends[1];
		if (must(fork(), "fork") == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			me = i;
			settle(i);
			work(ends[0], done[1]);
		}
		close(ends[0]);
	}
	close(done[1]);
	while (scanf("%31s %d %lld %lld", shared->order.way, &processes, &start, &length) == 4 && processes <= count) {
		char byte = 0;

		shared->order.start = start;
		shared->order.length = length;
		for (int i = 0; i < processes; i++)
			must(write(begin[i], &byte, 1), "write");
		for (int i = 0; i < processes; i++)
			must(read(done[0], &byte, 1), "read");
		for (int i = 0; i < processes; i++)
			printf("%ld %ld %d 0\n", shared->answers[i].pairs, shared->answers[i].nanoseconds,
			       shared->answers[i].disturbed);
		fflush(stdout);
	}
	semctl(shared->semaphore, 0, IPC_RMID);
	return 0;
}
