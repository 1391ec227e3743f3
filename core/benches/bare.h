/* What the parts of the bare side share. */
#ifndef BARE_H
#define BARE_H

#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* The group that is measured. */
extern int dir;

/* A call that must not fail. */
static inline int must(int result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

static inline int64_t read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline int64_t now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* How long this process has had a CPU. */
static inline int64_t spent(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static inline void nap(int microseconds)
{
	struct timespec t = { microseconds / 1000000, microseconds % 1000000 * 1000L };

	nanosleep(&t, NULL);
}

/* A nap, and then a moment of work: see napped() in side_by_side. */
static inline int64_t napped(int microseconds)
{
	int64_t woken;

	nap(microseconds);
	for (woken = now(); now() - woken < 500000; )
		;
	return now();
}

static inline int open_file(const char *name, int flags)
{
	return must(openat(dir, name, flags | O_CLOEXEC), name);
}

enum { MOST = 4096 };

struct member {
	int pid;
	unsigned long long started;
	bool settled;	/* its children were listed while it was stopped */
};

/* bare_embedded.c */
extern struct member members[MOST];
extern int count;
ssize_t read_proc(const char *name, int pid, char *text, size_t size);
void learn_members(void);
/* Reads all that a look for the members reads. */
void look_for_members(void);
void embedded(bool freeze);

/* bare_proof.c */
int64_t proof(const char *backend);

#endif
