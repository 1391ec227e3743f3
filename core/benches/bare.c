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
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *self;
static int dir;

/* A call that must not fail. */
static int must(int result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void nap(int microseconds)
{
	struct timespec t = { microseconds / 1000000, microseconds % 1000000 * 1000L };

	nanosleep(&t, NULL);
}

/* A nap, and then a moment of work: see napped() in freeze.rs. */
static int64_t napped(int microseconds)
{
	int64_t woken;

	nap(microseconds);
	for (woken = now(); now() - woken < 500000; )
		;
	return now();
}

static int open_file(const char *name, int flags)
{
	return must(openat(dir, name, flags | O_CLOEXEC), name);
}

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

/*
 * No control groups: signals, and looks at /proc. What the library's algorithm
 * cannot do without is here too: the lock, the members' records, that the caller
 * is none of them nor descends from one, the request, the record of whom we are
 * about to stop, and each pass's search for orphans of the session. The records
 * are read and not made sense of: who the members are is known before the clock
 * starts. The names are such as the library removes with a group.
 */

struct member {
	int pid;
	unsigned long long started;
	bool settled;	/* its children were listed while it was stopped */
};

enum { MOST = 4096, HIGHEST = 1 << 22, QUIET = 3 };
static struct member members[MOST];
static int count, session, generation;
static int member_in[HIGHEST];	/* the generation in which the number was a member's */
static ino_t outsider[HIGHEST];	/* the inode of /proc/PID of who is in another session */

static ssize_t read_proc(const char *name, int pid, char *text, size_t size)
{
	char path[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), name, pid, pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	length = read(fd, text, size - 1);
	close(fd);
	if (length >= 0)
		text[length] = 0;
	return length;
}

struct stat_line {
	char state;
	int parent, session;
	unsigned long long started;
};

static bool look(int pid, struct stat_line *line)
{
	char text[1024], *at;

	if (read_proc("/proc/%d/stat", pid, text, sizeof(text)) <= 0)
		return false;
	/* The third field of proc_pid_stat(5); the second may hold anything. */
	at = strrchr(text, ')') + 2;
	line->state = *at;
	for (int field = 3; field < 22; field++) {
		if (field == 4)
			line->parent = atoi(at);
		if (field == 6)
			line->session = atoi(at);
		at = strchr(at, ' ') + 1;
	}
	line->started = strtoull(at, NULL, 10);
	return true;
}

/* The letter of a member's state; it must not have become another process. */
static char look_at(const struct member *member)
{
	struct stat_line line;

	if (!look(member->pid, &line) || line.started != member->started)
		errx(1, "process %d has gone", member->pid);
	return line.state;
}

/* The group's tasks do not fork: who is not in the record is a mistake. */
static void list_children(const struct member *member)
{
	static char text[1 << 16];
	char *at = text, *end;

	if (read_proc("/proc/%d/task/%d/children", member->pid, text, sizeof(text)) < 0)
		errx(1, "process %d has gone", member->pid);
	for (long child; (child = strtol(at, &end, 10)) != 0; at = end)
		if (member_in[child] != generation)
			errx(1, "process %ld is not in the record", child);
}

static void search_orphans(void)
{
	DIR *proc = opendir("/proc");
	struct stat_line line;
	struct dirent *entry;

	if (!proc)
		err(1, "/proc");
	while ((entry = readdir(proc))) {
		int pid = atoi(entry->d_name);

		if (pid == 0 || member_in[pid] == generation || outsider[pid] == entry->d_ino)
			continue;
		if (!look(pid, &line))
			continue;
		if (line.session == session)
			errx(1, "process %d is not in the record", pid);
		outsider[pid] = entry->d_ino;
	}
	closedir(proc);
}

static void send_to(const struct member *member, int sig)
{
	int pidfd = must(syscall(SYS_pidfd_open, member->pid, 0), "pidfd_open");

	/* Looked at after the descriptor was open: it is this process's. */
	look_at(member);
	must(syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0), "pidfd_send_signal");
	close(pidfd);
}

/* How many processes the machine has ever made; see proc_stat(5). */
static unsigned long long forks(void)
{
	static char text[1 << 16];
	char *line;

	if (read_proc("/proc/stat", 0, text, sizeof(text)) < 0)
		err(1, "/proc/stat");
	line = strstr(text, "\nprocesses ");
	return line ? strtoull(line + 11, NULL, 10) : 0;
}

static void stop_all(void)
{
	static char record[64 * MOST];
	int pause = 20, length = 0, stopped;

	for (int i = 0; i < count; i++) {
		members[i].settled = false;
		if (look_at(&members[i]) != 'T')
			length += sprintf(record + length, "%d %llu 1\n", members[i].pid, members[i].started);
	}
	stopped = must(openat(dir, "cgf.bare-stopped", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), "cgf.bare-stopped");
	must(write(stopped, record, length), "cgf.bare-stopped");
	close(stopped);
	for (int i = 0; i < count; i++) {
		send_to(&members[i], SIGSTOP);
		list_children(&members[i]);
	}
	for (int quiet = 0; quiet < QUIET; ) {
		unsigned long long before = forks();
		bool still = true;

		for (int i = 0; i < count; i++) {
			bool is_stopped = look_at(&members[i]) == 'T';

			still = still && is_stopped;
			if (!members[i].settled)
				list_children(&members[i]);
			members[i].settled = is_stopped;
		}
		search_orphans();
		quiet = still ? quiet + 1 : 0;
		if (still && forks() == before)
			break;
		if (!still) {
			nap(pause);
			pause *= 2;
		}
	}
}

/* The group's record and that of the group above it, which lists its children. */
static void read_records(void)
{
	static char text[1 << 20];
	int above = must(openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "..");
	int places[] = { above, dir };
	DIR *children;

	for (int i = 0; i < 2; i++) {
		int file = must(openat(places[i], "cgroup.procs", O_RDONLY | O_CLOEXEC), "cgroup.procs");

		while (must(read(file, text, sizeof(text)), "cgroup.procs"))
			;
		close(file);
	}
	children = fdopendir(above);
	while (readdir(children))
		;
	closedir(children);
}

static void check_caller(void)
{
	struct stat_line line;

	for (int pid = getpid(); pid > 1 && look(pid, &line); pid = line.parent)
		if (member_in[pid] == generation)
			errx(1, "the caller is in the group");
}

static void embedded(bool freeze)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int lock = must(openat(dir, "cgf.bare-lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600), "cgf.bare-lock");
	int request;

	must(fcntl(lock, F_OFD_SETLKW, &whole), "locking");
	/* Before anything is done, and again by whoever does it. */
	if (freeze) {
		read_records();
		check_caller();
	}
	read_records();
	request = must(openat(dir, "cgf.bare-state", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "cgf.bare-state");
	must(write(request, freeze ? "FROZEN\n" : "THAWED\n", 7), "cgf.bare-state");
	close(request);
	if (freeze) {
		stop_all();
	} else {
		for (int i = 0; i < count; i++)
			send_to(&members[i], SIGCONT);
		must(unlinkat(dir, "cgf.bare-stopped", 0), "cgf.bare-stopped");
	}
	close(lock);
}

/* The group's own record: number, start time and session on each line. */
static void learn_members(void)
{
	FILE *file = fdopen(open_file("cgroup.procs", O_RDONLY), "r");
	char line[128];

	if (!file)
		err(1, "cgroup.procs");
	generation++;
	for (count = 0; count < MOST && fgets(line, sizeof(line), file); ) {
		struct member *member = &members[count];

		if (sscanf(line, "%d %llu %d", &member->pid, &member->started, &session) == 3) {
			member_in[member->pid] = generation;
			count++;
		}
	}
	fclose(file);
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

static int64_t attach(int microseconds)
{
	int pid = must(fork(), "fork");
	int64_t begun, took;
	char id[16];

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	begun = napped(microseconds);
	snprintf(id, sizeof(id), "%d", pid);
	write_file("cgroup.procs", id);
	took = now() - begun;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
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
		} else if (strcmp(word, "attach") == 0) {
			took = attach(microseconds);
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
