/*
 * What the C tests share. A test is one program about one behaviour; it exits
 * with 0, with 1 after a line that says what is wrong, or with 77 after a line
 * that says why it cannot run here.
 *
 * CGF_BACKEND names the backend; with CGF_DEMAND=1 a missing one is a failure.
 * Each program has a hierarchy of its own, t_h, which is gone when it ends, with
 * everything in it; T_END checks that nothing is left that was not there before.
 */
#ifndef T_H
#define T_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cgf.h>

/* Not every program uses all of this. */
#define T_UNUSED __attribute__((unused))

static struct cgf_error *err;
static struct cgf_hierarchy *t_h;
static char t_name[64];
static pid_t t_pid;
static int t_fds;

static T_UNUSED const char *t_backend(void)
{
	const char *backend = getenv("CGF_BACKEND");

	return backend ? backend : "auto";
}

static T_UNUSED int t_is(const char *backend)
{
	return !strcmp(cgf_hierarchy_backend(t_h), backend);
}

__attribute__((format(printf, 3, 4), noreturn)) static void t_fail(const char *file, int line, const char *how, ...)
{
	va_list values;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(values, how);
	vfprintf(stderr, how, values);
	va_end(values);
	fputc('\n', stderr);
	exit(1);
}

#define CHECK(what) ((what) ? (void)0 : t_fail(__FILE__, __LINE__, "not so: %s", #what))

#define SKIP(why) (fprintf(stderr, "%s\n", why), exit(77))

/* A tool such as valgrind may not know system calls that we cannot do without. */
static void t_skip_unknown_call(long result)
{
	if (result == -ENOSYS && getenv("CGF_UNDER"))
		SKIP(cgf_error_message(err));
}

/* The value of a call that must succeed; it reports to err. */
#define OK(call) t_ok((call), #call, __FILE__, __LINE__)

static T_UNUSED long t_ok(long result, const char *call, const char *file, int line)
{
	t_skip_unknown_call(result);
	if (result < 0)
		t_fail(file, line, "%s: %s (%ld)", call, cgf_error_message(err), result);
	if (err)
		t_fail(file, line, "%s succeeded, with an error: %s", call, cgf_error_message(err));
	return result;
}

/* A call that must fail so, with an error that says the same. */
#define FAILS(expected, call) t_fails((expected), (call), #call, __FILE__, __LINE__)

static T_UNUSED void t_fails(int expected, long result, const char *call, const char *file, int line)
{
	t_skip_unknown_call(result);
	if (result != -expected)
		t_fail(file, line, "%s: not -%d but %ld: %s", call, expected, result, cgf_error_message(err));
	if (cgf_error_errno(err) != expected)
		t_fail(file, line, "%s: the error's errno is %d", call, cgf_error_errno(err));
	if (!*cgf_error_message(err))
		t_fail(file, line, "%s: no message", call);
	cgf_error_free(err);
	err = NULL;
}

/* Whether a hierarchy of the program's has counters. */
static int t_counts;

/* Counters stay for as long as the process does: their file, and a descriptor of
 * each process that has charged something. */
static int t_stays(int directory, const char *number)
{
	char target[4096] = "";

	if (!t_counts || readlinkat(directory, number, target, sizeof(target) - 1) < 0)
		return 0;
	return strstr(target, "/cgf-counters/") || strstr(target, "pidfd");
}

static T_UNUSED int t_count_fds(int that_stay)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	CHECK(directory);
	for (struct dirent *entry; (entry = readdir(directory));)
		count += t_stays(dirfd(directory), entry->d_name) == that_stay;
	closedir(directory);
	return count;
}

static T_UNUSED int t_open_fds(void)
{
	return t_count_fds(0) - 3; /* ".", "..", and its own. */
}

static T_UNUSED void t_sleep_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

/* What a failed test has charged for good. */
static void t_uncharge(struct cgf_group *group)
{
	struct cgf_beancounter counters[16];
	ssize_t total = cgf_snapshot(group, counters, sizeof(counters[0]), 16, NULL, NULL);

	for (ssize_t i = 0; i < total && i < 16; i++)
		if (counters[i].held)
			cgf_uncharge(group, (uint32_t)i, counters[i].held);
}

/* Ends a hierarchy with everything in it. */
static void t_clean_up(struct cgf_hierarchy *h)
{
	char paths[65536], again[65536];
	struct cgf_group *root, *group;

	if (!cgf_group_open(h, "/", &root, NULL)) {
		paths[0] = 0;
		cgf_group_list(root, paths, sizeof(paths) - 1, NULL);
		strcpy(again, paths);
		/* No group goes while one below it holds something. */
		for (char *path = strtok(again, "\n"); path; path = strtok(NULL, "\n"))
			if (!cgf_group_open(h, path, &group, NULL)) {
				t_uncharge(group);
				cgf_group_free(group);
			}
		for (char *path = strtok(paths, "\n"); path; path = strtok(NULL, "\n"))
			if (!cgf_group_open(h, path, &group, NULL)) {
				cgf_checkpoint_break(group, NULL);
				cgf_thaw(group, NULL);
				cgf_group_remove(group, CGF_REMOVE_KILL | CGF_REMOVE_RECURSIVE, NULL);
				cgf_group_free(group);
			}
		cgf_group_free(root);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	cgf_hierarchy_unmount(h, NULL);
	cgf_hierarchy_free(h);
}

/* The name of a second hierarchy of the program's own, and options for it. */
static char t_other_name[80], t_other_options[256];

static T_UNUSED void t_name_other(const char *more_options)
{
	t_counts |= strstr(more_options, "beancounter") != NULL;
	snprintf(t_other_name, sizeof(t_other_name), "%s-other", t_name);
	snprintf(t_other_options, sizeof(t_other_options), "backend=%s%s", t_backend(), more_options);
}

/* Opens it. */
static T_UNUSED struct cgf_hierarchy *t_other(const char *more_options)
{
	struct cgf_hierarchy *h = NULL;

	t_name_other(more_options);
	OK(cgf_hierarchy_open(t_other_name, t_other_options, &h, &err));
	CHECK(h);
	return h;
}

/* Fails to open it. */
static T_UNUSED void t_no_other(int expected, const char *more_options)
{
	struct cgf_hierarchy *h = NULL;

	t_name_other(more_options);
	FAILS(expected, cgf_hierarchy_open(t_other_name, t_other_options, &h, &err));
	CHECK(!h);
}

/* Ends what a failed test leaves. */
static void t_clean(void)
{
	struct cgf_hierarchy *other;

	if (!t_h || getpid() != t_pid)
		return;
	/* It has been told; callbacks that run from here on find a clean one. */
	cgf_error_free(err);
	err = NULL;
	t_name_other("");
	if (!cgf_hierarchy_open_existing(t_other_name, t_other_options, &other, NULL))
		t_clean_up(other);
	t_clean_up(t_h);
	t_h = NULL;
}

static void t_late(int signal)
{
	static const char why[] = "the test's time is up\n";

	(void)signal;
	(void)!write(2, why, sizeof(why) - 1);
	t_clean();
	_exit(1);
}

/* A second handle on the program's hierarchy, or the first one in a child. */
static T_UNUSED struct cgf_hierarchy *t_open(const char *more_options)
{
	struct cgf_hierarchy *h = NULL;
	char options[256];

	snprintf(options, sizeof(options), "backend=%s%s", t_backend(), more_options);
	OK(cgf_hierarchy_open(t_name, options, &h, &err));
	CHECK(h);
	return h;
}

/* With more options for the hierarchy, as ",freezer,signal,members". */
static T_UNUSED void t_begin(const char *program, const char *more_options)
{
	const char *demand = getenv("CGF_DEMAND"), *seconds = getenv("CGF_SECONDS");
	const char *slash = strrchr(program, '/');
	char options[256];

	t_pid = getpid();
	/* A container's pid 1 need not reap our orphans. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGALRM, t_late);
	alarm(seconds ? (unsigned)atoi(seconds) : 50);
	t_fds = t_open_fds();
	t_counts |= strstr(more_options, "beancounter") != NULL;
	snprintf(t_name, sizeof(t_name), "c-%.32s-%d", slash ? slash + 1 : program, (int)t_pid);
	snprintf(options, sizeof(options), "backend=%s%s", t_backend(), more_options);
	if (cgf_hierarchy_open(t_name, options, &t_h, &err) < 0) {
		/* An old valgrind lacks a system call that the kernel has. */
		int missing = !(demand && !strcmp(demand, "1")) || cgf_error_errno(err) == ENOSYS;

		fprintf(stderr, "no %s here: %s\n", options, cgf_error_message(err));
		exit(missing ? 77 : 1);
	}
	atexit(t_clean);
}

#define T_BEGIN() t_begin(argv[0], "")
#define T_BEGIN_WITH(more_options) t_begin(argv[0], more_options)
/* The value of main. */
#define T_END() t_end(__FILE__, __LINE__)

/* All groups are removed, all handles freed: then nothing is left. */
static T_UNUSED int t_end(const char *file, int line)
{
	char directory[4096];
	struct stat found;
	int fds;

	OK(cgf_hierarchy_directory(t_h, directory, sizeof(directory), &err));
	if (stat(directory, &found))
		t_fail(file, line, "%s: %s", directory, strerror(errno));
	OK(cgf_hierarchy_unmount(t_h, &err));
	cgf_hierarchy_free(t_h);
	t_h = NULL;
	if (!stat(directory, &found) || errno != ENOENT)
		t_fail(file, line, "%s is left", directory);
	fds = t_open_fds();
	if (fds != t_fds)
		t_fail(file, line, "%d descriptors are open, %d were", fds, t_fds);
	if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
		t_fail(file, line, "a child is left");
	return 0;
}

static T_UNUSED struct cgf_group *t_group(const char *path)
{
	struct cgf_group *group = NULL;

	OK(cgf_group_create(t_h, path, &group, &err));
	CHECK(group);
	return group;
}

static T_UNUSED void t_remove(struct cgf_group *group)
{
	OK(cgf_group_remove(group, CGF_REMOVE_KILL | CGF_REMOVE_RECURSIVE, &err));
	cgf_group_free(group);
}

static T_UNUSED pid_t t_spawn(struct cgf_group *group, char *const argv[])
{
	pid_t pid = -1;

	OK(cgf_spawn(group, argv[0], argv, NULL, &pid, &err));
	CHECK(pid > 1);
	return pid;
}

static T_UNUSED pid_t t_shell(struct cgf_group *group, const char *script)
{
	char *argv[] = { "sh", "-c", (char *)script, NULL };

	return t_spawn(group, argv);
}

static T_UNUSED pid_t t_sleeper(struct cgf_group *group)
{
	char *argv[] = { "sleep", "100", NULL };

	return t_spawn(group, argv);
}

/* The status of a child that ends. */
static T_UNUSED int t_wait(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

/* A process that waits for nothing, outside of every group; it ends with us. */
static T_UNUSED pid_t t_outside(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static T_UNUSED void t_reap_killed(pid_t pid);

static T_UNUSED void t_end_outside(pid_t pid)
{
	CHECK(!kill(pid, SIGKILL));
	t_reap_killed(pid);
}

/* What a file says, whole. */
static T_UNUSED void t_reads(struct cgf_group *group, const char *file, const char *expected)
{
	char text[4096];
	long length = t_ok(cgf_read(group, file, text, sizeof(text), &err), file, __FILE__, __LINE__);

	if (length != (long)strlen(expected) || strcmp(text, expected))
		t_fail(__FILE__, __LINE__, "%s: not \"%s\" but \"%s\"", file, expected, text);
}

/* A forked part of the test, which may skip it. */
static T_UNUSED void t_wait_part(pid_t pid)
{
	int status = t_wait(pid);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		exit(77);
	CHECK(status == 0);
}

static T_UNUSED void t_reap_killed(pid_t pid)
{
	int status = t_wait(pid);

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* A state that comes by itself, within five seconds. */
static T_UNUSED void t_await_state(struct cgf_group *group, int state)
{
	for (int i = 0; i < 5000; i++) {
		if (cgf_state(group, NULL) == state)
			return;
		t_sleep_ms(1);
	}
	t_fail(__FILE__, __LINE__, "the state is %d and not %d after 5 s", cgf_state(group, NULL), state);
}

#endif
