/*
 * The proof that no task ran: who the group's threads are, and how often each was
 * given a CPU, three times over: twice when it begins, once when it ends.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare.h"

struct thread {
	int tid;
	unsigned long long runs;
};

static int list_file(const char *name, struct thread *threads)
{
	static char text[16 * MOST];
	int fd = open_file(name, O_RDONLY), number = 0;
	ssize_t part, length = 0;

	while ((part = must(read(fd, text + length, sizeof(text) - 1 - length), name)) > 0)
		length += part;
	close(fd);
	text[length] = 0;
	for (char *at = text, *end; number < MOST && (threads[number].tid = strtol(at, &end, 10)) != 0; at = end)
		number++;
	return number;
}

/* No control groups: the members, and the threads of each. */
static int list_threads(struct thread *threads)
{
	struct dirent *entry;
	int number = 0;

	look_for_members();
	for (int i = 0; i < count; i++) {
		char path[64];
		DIR *directory;

		snprintf(path, sizeof(path), "/proc/%d/task", members[i].pid);
		directory = opendir(path);
		while (directory && number < MOST && (entry = readdir(directory)))
			if ((threads[number].tid = atoi(entry->d_name)) != 0)
				number++;
		closedir(directory);
	}
	return number;
}

static int pass(const char *backend, struct thread *threads)
{
	int number;

	if (strcmp(backend, "embedded") == 0)
		number = list_threads(threads);
	else
		number = list_file(strcmp(backend, "cgroup1") == 0 ? "tasks" : "cgroup.threads", threads);
	for (int i = 0; i < number; i++) {
		char text[128], *at = text;

		if (read_proc("/proc/%d/schedstat", threads[i].tid, text, sizeof(text)) <= 0)
			errx(1, "thread %d has gone", threads[i].tid);
		for (int field = 0; field < 3; field++)
			threads[i].runs = strtoull(at, &at, 10);
	}
	return number;
}

/* The time of our own that it takes: it waits for nothing. */
int64_t proof(const char *backend)
{
	static struct thread before[MOST], after[MOST];
	int number = pass(backend, before);
	int64_t begun = spent();

	for (int i = 0; i < 3; i++)
		if (pass(backend, after) != number || memcmp(before, after, number * sizeof(*before)) != 0)
			errx(1, "a thread ran");
	return spent() - begun;
}
