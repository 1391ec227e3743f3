/*
 * What the tests take checkpoints of: processes that count for ever, and write
 * down how far they are, so that a restored one shows where it goes on from.
 *
 *     counter alone DIRECTORY
 *     counter crowd DIRECTORY THREADS CHILDREN
 *     counter large DIRECTORY MEBIBYTES
 *     counter pipe  DIRECTORY
 *
 * Each counter has a file in DIRECTORY, with one line: who it is (a number drawn
 * at birth and kept in memory only) and its count. `pipe` appends what came through
 * a pipe to the file "log", a line for each number, so that a number lost or
 * doubled on the way shows.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

static const char *directory;

static void ready(void) { prctl(PR_SET_NAME, "ready"); }

static int open_file(const char *name, int flags)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
	if (fd < 0)
		_exit(2);
	return fd;
}

static void count(const char *name)
{
	uint32_t who;
	int fd = open_file(name, 0);
	if (getrandom(&who, sizeof who, 0) != sizeof who)
		_exit(3);
	for (uint64_t n = 1;; n++) {
		char line[64];
		int length = snprintf(line, sizeof line, "%010u %020llu\n", who, (unsigned long long)n);
		if (pwrite(fd, line, length, 0) != length)
			_exit(4);
		usleep(1000);
	}
}

static void *count_in_thread(void *name)
{
	count(name);
	return NULL;
}

static void crowd(int threads, int children)
{
	static char names[256][32];
	for (int i = 0; i < children; i++) {
		if (fork() == 0) {
			snprintf(names[0], sizeof names[0], "child-%d", i);
			count(names[0]);
		}
	}
	for (int i = 0; i < threads - 1 && i < 256; i++) {
		pthread_t thread;
		snprintf(names[i], sizeof names[i], "thread-%d", i);
		if (pthread_create(&thread, NULL, count_in_thread, names[i]))
			_exit(5);
	}
	ready();
	count("first");
}

/* Memory that cannot be left out of an image. */
static void use_memory(size_t mebibytes)
{
	char *memory = malloc(mebibytes << 20);
	if (!memory)
		_exit(9);
	memset(memory, 'x', mebibytes << 20);
	__asm__ volatile("" : : "r"(memory) : "memory");
}

/* The parent writes numbers faster than the child reads them: the pipe is never empty. */
static void through_pipe(void)
{
	int ends[2];
	if (pipe(ends))
		_exit(6);
	if (fork() == 0) {
		int log = open_file("log", O_APPEND);
		uint64_t n;
		close(ends[1]);
		while (read(ends[0], &n, sizeof n) == sizeof n) {
			dprintf(log, "%llu\n", (unsigned long long)n);
			usleep(1000);
		}
		_exit(7);
	}
	close(ends[0]);
	ready();
	for (uint64_t n = 1; write(ends[1], &n, sizeof n) == sizeof n; n++)
		;
	_exit(8);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 64;
	directory = argv[2];
	if (strcmp(argv[1], "alone") == 0) {
		ready();
		count("first");
	}
	if (strcmp(argv[1], "crowd") == 0 && argc == 5)
		crowd(atoi(argv[3]), atoi(argv[4]));
	if (strcmp(argv[1], "large") == 0 && argc == 4) {
		use_memory(atoi(argv[3]));
		ready();
		count("first");
	}
	if (strcmp(argv[1], "pipe") == 0)
		through_pipe();
	return 64;
}
