/*
 * What the library is measured against: the smallest C program that does the
 * same with the kernel's own files and checks that it is done.
 *
 *     bare tasks N              N processes in pause(2), this one included
 *     bare exit | bare pause    a program to start
 *     bare BACKEND DIR TWIN     the directories of two groups; obeys lines "WORD
 *                               MICROSECONDS WARM" on stdin: naps so long; if
 *                               WARM is 1, freezes and thaws the twin; does what
 *                               the word says with the group. Answers each with
 *                               the nanoseconds that it took
 *
 * It leaves out all that a library must do and a program that knows its machine
 * need not: checking who calls, recording what was done, confining paths.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "bare.h"

static const char *self;
int dir;

static void write_file(const char *name, const char *text)
{
	int fd = open_file(name, O_WRONLY);

	must(write(fd, text, strlen(text)), name);
	close(fd);
}

static bool shows(int fd, const char *word)
{
	char text[256];
	ssize_t length = must(pread(fd, text, sizeof(text) - 1, 0), "reading");

	text[length] = 0;
	return strstr(text, word);
}

/* cgroup version 2 tells of a change by POLLPRI; but it limits how often, so that
 * the word may come late: each wait is short at first. */
static void cgroup2(bool freeze)
{
	struct pollfd change = { .events = POLLPRI };
	int milliseconds = 1;

	write_file("cgroup.freeze", freeze ? "1" : "0");
	change.fd = open_file("cgroup.events", O_RDONLY);
	while (!shows(change.fd, freeze ? "frozen 1" : "frozen 0")) {
		must(poll(&change, 1, milliseconds), "poll");
		if (milliseconds < 64)
			milliseconds *= 2;
	}
	close(change.fd);
}

/* cgroup version 1, which gives no notice: look until it shows. */
static void cgroup1(bool freeze)
{
	const char *word = freeze ? "FROZEN" : "THAWED";
	int state = open_file("freezer.state", O_RDWR);

	must(write(state, word, strlen(word)), word);
	while (!shows(state, word))
		sched_yield();
	close(state);
}

/* Starting a program: into the group from birth, or outside and then moved. */

enum way { BORN_INSIDE, MOVED, NO_GROUP };

static int64_t start(enum way way)
{
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = dir };
	int go[2], executed[2], pid, status;
	char id[16];
	int64_t begun = now(), took;

	must(pipe2(go, O_CLOEXEC), "pipe");
	must(pipe2(executed, O_CLOEXEC), "pipe");
	pid = must(way == BORN_INSIDE ? (int)syscall(SYS_clone3, &args, sizeof(args)) : fork(), "fork");
	if (pid == 0) {
		/* It must not run its program outside of the group. */
		if (way == MOVED)
			must(read(go[0], id, 1), "read");
		if (way == NO_GROUP)
			setsid();
		execl(self, self, "exit", (char *)NULL);
		_exit(127);
	}
	if (way == MOVED) {
		snprintf(id, sizeof(id), "%d", pid);
		write_file("cgroup.procs", id);
		must(write(go[1], "", 1), "write");
	}
	close(executed[1]);
	/* Closed by exec. */
	must(read(executed[0], id, 1), "read");
	took = now() - begun;
	close(executed[0]);
	close(go[0]);
	close(go[1]);
	must(waitpid(pid, &status, 0), "waitpid");
	if (status != 0)
		errx(1, "the program did not start");
	return took;
}

/* A hundred looks at one file, each from open to close. */
static int64_t state(const char *name)
{
	int64_t begun = now();

	for (int i = 0; i < 100; i++) {
		char text[256];
		int fd = open_file(name, O_RDONLY);

		must(read(fd, text, sizeof(text)), name);
		close(fd);
	}
	return (now() - begun) / 100;
}

static noreturn void tasks(int number)
{
	/* Also if whoever measures is killed; a frozen one dies after the thaw. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 1; i < number; i++) {
		if (must(fork(), "fork") == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(STDOUT_FILENO);
			for (;;)
				pause();
		}
	}
	puts("ready");
	fclose(stdout);
	for (;;)
		pause();
}

static void obey(const char *backend, int group, int twin)
{
	void (*change)(bool) = cgroup2;
	const char *state_file = "cgroup.events";
	int microseconds, warm;
	char word[32];

	if (strcmp(backend, "cgroup2") != 0) {
		change = strcmp(backend, "cgroup1") == 0 ? cgroup1 : embedded;
		state_file = "freezer.state";
	}
	while (scanf("%31s %d %d", word, &microseconds, &warm) == 3) {
		int64_t took = -1, begun;

		/* The nap is on this side, as the other has its own. */
		napped(microseconds);
		if (warm) {
			dir = twin;
			if (change == embedded)
				learn_members();
			change(true);
			change(false);
		}
		dir = group;
		if (change == embedded)
			learn_members();
		begun = now();
		if (strcmp(word, "freeze") == 0 || strcmp(word, "thaw") == 0) {
			change(word[0] == 'f');
			took = now() - begun;
		} else if (strcmp(word, "state") == 0) {
			took = state(state_file);
		} else if (strcmp(word, "proof") == 0) {
			took = proof(backend);
		} else if (strcmp(word, "born") == 0) {
			took = start(BORN_INSIDE);
		} else if (strcmp(word, "moved") == 0) {
			took = start(MOVED);
		} else if (strcmp(word, "plain") == 0) {
			took = start(NO_GROUP);
		}
		printf("%lld\n", (long long)took);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	self = argv[0];
	if (argc == 2 && strcmp(argv[1], "exit") == 0)
		return 0;
	if (argc == 2 && strcmp(argv[1], "pause") == 0)
		return pause();
	if (argc == 3 && strcmp(argv[1], "tasks") == 0)
		tasks(atoi(argv[2]));
	if (argc != 4) {
		fprintf(stderr, "usage: bare tasks N | exit | pause | BACKEND DIRECTORY TWIN\n");
		return 2;
	}
	obey(argv[1], must(open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC), argv[2]),
	     must(open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC), argv[3]));
	return 0;
}
