/*
 * No control groups: signals, and looks at /proc. What the library's algorithm
 * cannot do without is here too: the lock, the members' records, that the caller
 * is none of them nor descends from one, the request, the record of whom we are
 * about to stop, and each pass's search for orphans of the session. The records
 * are read and not made sense of: who the members are is known before the clock
 * starts. The names are such as the library removes with a group.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "bare.h"

enum { HIGHEST = 1 << 22, QUIET = 3 };
struct member members[MOST];
int count;
static int session, generation;
static int member_in[HIGHEST];	/* the generation in which the number was a member's */
static ino_t outsider[HIGHEST];	/* the inode of /proc/PID of who is in another session */

ssize_t read_proc(const char *name, int pid, char *text, size_t size)
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

void look_for_members(void)
{
	read_records();
	for (int i = 0; i < count; i++) {
		look_at(&members[i]);
		list_children(&members[i]);
	}
	search_orphans();
}

static void check_caller(void)
{
	struct stat_line line;

	for (int pid = getpid(); pid > 1 && look(pid, &line); pid = line.parent)
		if (member_in[pid] == generation)
			errx(1, "the caller is in the group");
}

void embedded(bool freeze)
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
void learn_members(void)
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
