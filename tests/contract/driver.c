/*
 * The C surface's driver for the contract table: lines in, lines out.
 * Everything here goes through cgf.h, as a runtime's own code would.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <cgf.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver.h"

struct cgf_hierarchy *hierarchy;
char *words[MOST];
int count;
char answer[ROOM];

static struct {
	char *path;
	struct cgf_group *group;
} handles[MOST];

static bool has(const char *flag)
{
	for (int i = 2; i < count; i++)
		if (strcmp(words[i], flag) == 0)
			return true;
	return false;
}

static void remember(const char *path, struct cgf_group *group)
{
	int place = 0;
	while (handles[place].path && strcmp(handles[place].path, path) != 0)
		place++;
	assert(place < MOST);
	cgf_group_free(handles[place].group);
	free(handles[place].path);
	handles[place].path = strdup(path);
	handles[place].group = group;
}

static void forget_all(void)
{
	for (int i = 0; i < MOST; i++) {
		cgf_group_free(handles[i].group);
		free(handles[i].path);
		handles[i].group = NULL;
		handles[i].path = NULL;
	}
}

static int open_group(struct cgf_group **group, struct cgf_error **err)
{
	for (int i = 0; i < MOST && handles[i].path; i++) {
		if (strcmp(handles[i].path, words[1]) == 0) {
			*group = handles[i].group;
			return 0;
		}
	}
	int result = cgf_group_open(hierarchy, words[1], group, err);
	if (result == 0)
		remember(words[1], *group);
	return result;
}

/* What our descriptors are of, a word each. */
static void list_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	size_t used = 0;
	for (struct dirent *entry; (entry = readdir(directory));) {
		ssize_t length = readlinkat(dirfd(directory), entry->d_name, answer + used, 4096);
		for (ssize_t i = 0; i < length; i++)
			if (answer[used + i] == ' ')
				answer[used + i] = '_';
		if (length > 0) {
			used += (size_t)length;
			answer[used++] = ' ';
		}
	}
	answer[used] = '\0';
	closedir(directory);
}

static int list(ssize_t (*get)(const struct cgf_group *, pid_t *, size_t, struct cgf_error **), struct cgf_group *group,
		struct cgf_error **err)
{
	static pid_t ids[65536];
	ssize_t total = get(group, ids, sizeof ids / sizeof ids[0], err);
	size_t used = 0;
	for (ssize_t i = 0; i < total; i++)
		used += sprintf(answer + used, "%d ", ids[i]);
	return total < 0 ? (int)total : 0;
}

/* A read into `answer`, as a string. */
static int text(ssize_t length)
{
	if (length < 0)
		return (int)length;
	answer[length < ROOM - 1 ? length : ROOM - 1] = '\0';
	return 0;
}

/* "net,uts" as the kernel's bits. What is no kind is a bit of none. */
static uint64_t namespaces(const char *kinds)
{
	static const struct {
		const char *name;
		uint64_t bit;
	} known[] = {
		{ "cgroup", CLONE_NEWCGROUP }, { "ipc", CLONE_NEWIPC },	  { "mnt", CLONE_NEWNS },     { "net", CLONE_NEWNET },
		{ "pid", CLONE_NEWPID },       { "time", 0x80 },	  { "user", CLONE_NEWUSER }, { "uts", CLONE_NEWUTS },
	};
	uint64_t bits = 0;
	for (const char *word = kinds; *word; word += *word == ',') {
		size_t length = strcspn(word, ","), i = 0;
		while (i < 8 && (strlen(known[i].name) != length || strncmp(known[i].name, word, length) != 0))
			i++;
		bits |= i < 8 ? known[i].bit : 1;
		word += length;
	}
	return bits;
}

/* The program is the word at this place. */
static int spawn(struct cgf_group *group, int at, uint64_t kinds, struct cgf_error **err)
{
	pid_t pid;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct cgf_spawn_fd streams[] = { { null, 0 }, { null, 1 } };
	struct cgf_spawn_options options = { .size = sizeof options, .fds = streams, .fd_count = 2, .namespaces = kinds };
	words[count] = NULL;
	int result = cgf_spawn_with(group, words[at], words + at, NULL, &options, &pid, err);
	close(null);
	if (result == 0)
		sprintf(answer, "%d", pid);
	return result;
}

static int attach_gone(struct cgf_group *group, struct cgf_error **err)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	waitpid(pid, NULL, 0);
	int result = cgf_attach_pidfd(group, pidfd, 0, err);
	close(pidfd);
	return result;
}

/* References are remembered like handles, by path. */
static struct {
	char *path;
	struct cgf_reference *reference;
} references[MOST];

static int refer(const char *path, struct cgf_group *group, struct cgf_error **err)
{
	int i = 0;
	while (i < MOST - 1 && references[i].path)
		i++;
	int result = cgf_reference(group, &references[i].reference, err);
	if (result == 0)
		references[i].path = strdup(path);
	return result;
}

static void unrefer(const char *path)
{
	for (int i = 0; i < MOST; i++) {
		if (references[i].path && (!path || strcmp(references[i].path, path) == 0)) {
			cgf_reference_free(references[i].reference);
			free(references[i].path);
			references[i].path = NULL;
		}
	}
}

/* Checkpoints too; of one group the oldest first: one that was ended by force, and the next. */
static struct {
	char *path;
	struct cgf_checkpoint *checkpoint;
} checkpoints[MOST];
static int begun;

static int checkpoint(const char *path, struct cgf_group *group, struct cgf_error **err)
{
	struct cgf_checkpoint_options options = {
		.size = sizeof options,
		.flags = (has("external") ? CGF_CHECKPOINT_EXTERNAL : 0) | (has("wakeups") ? CGF_CHECKPOINT_WAKEUPS : 0),
	};
	struct cgf_checkpoint **place = &checkpoints[begun].checkpoint;
	int root = atoi(words[2]);
	assert(begun < MOST);
	int result = options.flags ? cgf_checkpoint_begin_with(group, root, &options, place, err) :
				     cgf_checkpoint_begin(group, root, place, err);
	if (result == 0)
		checkpoints[begun++].path = strdup(path);
	return result;
}

static int oldest(const char *path)
{
	int i = 0;
	while (i < begun && strcmp(checkpoints[i].path, path) != 0)
		i++;
	assert(i < begun);
	return i;
}

static int end(int which, struct cgf_error **err)
{
	int result = cgf_checkpoint_end(checkpoints[which].checkpoint, err);
	free(checkpoints[which].path);
	memmove(&checkpoints[which], &checkpoints[which + 1], (--begun - which) * sizeof checkpoints[0]);
	return result;
}

static void end_all(void)
{
	while (begun)
		end(0, NULL);
}

static int woken(int which, struct cgf_error **err)
{
	pid_t tids[MOST];
	size_t used = 0;
	ssize_t total = cgf_checkpoint_woken(checkpoints[which].checkpoint, tids, MOST, err);
	for (ssize_t i = 0; i < total && i < MOST; i++)
		used += sprintf(answer + used, "%d ", tids[i]);
	return total < 0 ? (int)total : 0;
}

static int with_group(struct cgf_group *group, struct cgf_error **err)
{
	const char *verb = words[0];
	int number = count > 2 ? atoi(words[2]) : 0;
	if (strcmp(verb, "remove") == 0)
		return cgf_group_remove(group,
					(has("kill") ? CGF_REMOVE_KILL : 0) | (has("recursive") ? CGF_REMOVE_RECURSIVE : 0), err);
	if (strcmp(verb, "rename") == 0) {
		struct cgf_group *renamed;
		int result = cgf_group_rename(group, words[2], &renamed, err);
		if (result == 0)
			remember(words[2], renamed);
		return result;
	}
	if (strcmp(verb, "groups") == 0) {
		int result = text(cgf_group_list(group, answer, ROOM - 1, err));
		for (char *end = answer; (end = strchr(end, '\n')); end++)
			*end = ' ';
		return result;
	}
	if (strcmp(verb, "attach") == 0)
		return has("frozen") ? cgf_attach_with(group, number, CGF_ATTACH_FROZEN, err) : cgf_attach(group, number, err);
	if (strcmp(verb, "attach_task") == 0)
		return cgf_attach_task(group, number, err);
	if (strcmp(verb, "attach_gone") == 0)
		return attach_gone(group, err);
	if (strcmp(verb, "spawn") == 0)
		return spawn(group, 2, 0, err);
	if (strcmp(verb, "spawn_in") == 0)
		return spawn(group, 3, namespaces(words[2]), err);
	if (strcmp(verb, "enter") == 0)
		return cgf_enter(group, namespaces(words[2]), err);
	if (strcmp(verb, "reference") == 0)
		return refer(words[1], group, err);
	if (strcmp(verb, "unreference") == 0) {
		unrefer(words[1]);
		return 0;
	}
	if (strcmp(verb, "attribute") == 0) {
		int result = text(cgf_attribute_get(group, words[2], answer, ROOM - 1, err));
		if (result != -ENODATA)
			return result;
		cgf_error_free(*err);
		*err = NULL;
		return 0;
	}
	if (strcmp(verb, "set_attribute") == 0)
		return cgf_attribute_set(group, words[2], words[3], err);
	if (strcmp(verb, "remove_attribute") == 0)
		return cgf_attribute_set(group, words[2], NULL, err);
	if (strcmp(verb, "files") == 0) {
		int result = text(cgf_control_files(group, answer, ROOM - 1, err));
		for (char *end = answer; (end = strchr(end, '\n')); end++)
			*end = ' ';
		return result;
	}
	if (strcmp(verb, "procs") == 0)
		return list(cgf_procs, group, err);
	if (strcmp(verb, "tasks") == 0)
		return list(cgf_tasks, group, err);
	if (strcmp(verb, "freeze") == 0)
		return cgf_freeze(group, number,
				  (has("rollback") ? CGF_FREEZE_ROLLBACK : 0) | (has("with_caller") ? CGF_FREEZE_WITH_CALLER : 0),
				  err);
	if (strcmp(verb, "thaw") == 0)
		return cgf_thaw(group, err);
	if (strcmp(verb, "checkpoint") == 0)
		return checkpoint(words[1], group, err);
	if (strcmp(verb, "verify") == 0)
		return cgf_checkpoint_verify(checkpoints[oldest(words[1])].checkpoint, err);
	if (strcmp(verb, "woken") == 0)
		return woken(oldest(words[1]), err);
	if (strcmp(verb, "end") == 0)
		return end(oldest(words[1]), err);
	if (strcmp(verb, "break") == 0)
		return cgf_checkpoint_break(group, err);
	if (strcmp(verb, "state") == 0) {
		static const char *const names[] = { "THAWED", "FREEZING", "FROZEN", "CHECKPOINTING" };
		int state = cgf_state(group, err);
		if (state >= 0)
			strcpy(answer, names[state]);
		return state < 0 ? state : 0;
	}
	if (strcmp(verb, "kill") == 0)
		return cgf_kill(group, number, err);
	if (strcmp(verb, "read") == 0)
		return text(cgf_read(group, words[2], answer, ROOM - 1, err));
	if (strcmp(verb, "write") == 0)
		return cgf_write(group, words[2], words[3], err);
	return with_counters(group, err);
}

static int act(struct cgf_error **err)
{
	const char *verb = words[0];
	struct cgf_group *group = NULL;
	int result = 0;
	if (strcmp(verb, "hierarchy") == 0)
		return cgf_hierarchy_open(words[1], words[2], &hierarchy, err);
	if (strcmp(verb, "try_hierarchy") == 0) {
		struct cgf_hierarchy *other;
		result = cgf_hierarchy_open(words[1], count > 2 ? words[2] : NULL, &other, err);
		if (result == 0)
			cgf_hierarchy_free(other);
		return result;
	}
	if (strcmp(verb, "fds") == 0) {
		list_descriptors();
		return 0;
	}
	if (strcmp(verb, "forget") == 0) {
		forget_all();
		unrefer(NULL);
		end_all();
		return 0;
	}
	if (strcmp(verb, "unmount") == 0)
		return cgf_hierarchy_unmount(hierarchy, err);
	if (is_about_resources(verb))
		return with_resources(err);
	if (strcmp(verb, "group_of") == 0) {
		result = cgf_group_of(hierarchy, atoi(words[1]), &group, err);
		if (result == 0)
			result = text(cgf_group_path(group, answer, ROOM - 1, err));
		cgf_group_free(group);
		return result;
	}
	if (strcmp(verb, "clone") == 0) {
		result = cgf_group_clone(hierarchy, atoi(words[1]), words[2], &group, err);
		if (result == 0)
			result = text(cgf_group_path(group, answer, ROOM - 1, err));
		cgf_group_free(group);
		return result;
	}
	if (strcmp(verb, "create") == 0) {
		result = cgf_group_create(hierarchy, words[1], &group, err);
		if (result == 0)
			remember(words[1], group);
		return result;
	}
	if (strcmp(verb, "open") == 0) {
		result = cgf_group_open(hierarchy, words[1], &group, err);
		if (result == 0)
			remember(words[1], group);
		return result;
	}
	result = open_group(&group, err);
	return result < 0 ? result : with_group(group, err);
}

static void print_encoded(const char *text)
{
	for (; *text; text++) {
		if (*text == '\n' || *text == '%')
			printf("%%%02x", *text);
		else
			putchar(*text);
	}
}

static void say(int result, struct cgf_error *error)
{
	if (result >= 0) {
		printf("ok ");
		print_encoded(answer);
	} else {
		static const char *const evidence[] = { "none", "proved", "state", "outside", "ran", "thawed", "left", "came" };
		static struct cgf_blocker blockers[2048];
		/* The number returned, and the one in the object, are the same. */
		assert(error ? cgf_error_errno(error) == -result : *answer);
		size_t found = cgf_error_blockers(error, blockers, sizeof blockers[0], 2048);
		printf("error %d ", -result);
		for (size_t i = 0; i < found && i < 2048; i++)
			printf("%s%d:%d:%s", i ? "," : "", blockers[i].pid, blockers[i].tid,
			       evidence[(int)blockers[i].evidence]);
		printf("%s ", found ? "" : "-");
		print_encoded(error ? cgf_error_message(error) : answer);
	}
	putchar('\n');
	fflush(stdout);
	cgf_error_free(error);
}

/* "%0a" to the byte it stands for, in place. */
static void decode(char *word)
{
	char *to = word;
	for (char *from = word; *from; from++, to++) {
		*to = *from;
		if (from[0] == '%' && isxdigit(from[1]) && isxdigit(from[2])) {
			char code[] = { from[1], from[2], '\0' };
			*to = (char)strtol(code, NULL, 16);
			from += 2;
		}
	}
	*to = '\0';
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;
	while (getline(&line, &size, stdin) > 0) {
		struct cgf_error *error = NULL;
		char *rest = line;
		count = 0;
		line[strcspn(line, "\n")] = '\0';
		for (char *word; (word = strsep(&rest, " ")) && count < MOST - 1;) {
			if (*word == '\0')
				continue;
			decode(word);
			words[count++] = word;
		}
		words[count] = NULL;
		answer[0] = '\0';
		int result = act(&error);
		say(result, error);
	}
	forget_all();
	end_all();
	cgf_hierarchy_free(hierarchy);
	free(line);
	return 0;
}
