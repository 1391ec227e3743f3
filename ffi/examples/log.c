/*
 * A controller that logs every fork and exit of a group, and a monitor that
 * drives it from a poll(2) loop.
 *
 *     cc log.c $(pkg-config --cflags --libs libcgf) -o log
 *     ./log
 *
 * CGF_OPTIONS may hold options of the hierarchy, such as "backend=embedded".
 */
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cgf.h>

static int log_fork(void *state, struct cgf_group *group, pid_t parent, pid_t child)
{
	char path[4096];
	ssize_t length = cgf_group_path(group, path, sizeof(path), NULL);

	(void)state;
	if (length < 0)
		return (int)length;
	printf("%s: %d made %d\n", path, (int)parent, (int)child);
	return 0;
}

static int log_exit(void *state, struct cgf_group *group, pid_t pid)
{
	char path[4096];
	ssize_t length = cgf_group_path(group, path, sizeof(path), NULL);

	(void)state;
	if (length < 0)
		return (int)length;
	printf("%s: %d ended\n", path, (int)pid);
	return 0;
}

static const struct cgf_subsystem logger = {
	.size = sizeof(logger),
	.name = "log",
	.fork = log_fork,
	.exit = log_exit,
};

/* Says what failed, and takes the error with it. */
static int report(const char *doing, struct cgf_error *err)
{
	fprintf(stderr, "log: %s: %s\n", doing, cgf_error_message(err));
	cgf_error_free(err);
	return -1;
}

/* Until the group is empty, or ten seconds are over without an event. */
static int follow(struct cgf_monitor *monitor, int fd)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	struct cgf_error *err = NULL;
	struct cgf_event *event;
	int result, is_empty = 0;

	/* A program that has an event loop puts the descriptor among its own. */
	while (!is_empty && poll(&polled, 1, 10000) > 0) {
		/* All that there is; the callbacks are called here. */
		while ((result = cgf_monitor_next(monitor, 0, &event, &err)) > 0) {
			is_empty |= cgf_event_kind(event) == CGF_EVENT_EMPTY;
			cgf_event_free(event);
		}
		if (result < 0)
			return report("following", err);
	}
	if (is_empty)
		puts("the group is empty");
	return is_empty ? 0 : -1;
}

/* A small tree, which is followed until it has gone. */
static int try_it(struct cgf_hierarchy *hierarchy, struct cgf_group *group)
{
	char *tree[] = { "sh", "-c", "sleep 1 & sleep 1 & wait", NULL };
	struct cgf_monitor *monitor;
	struct cgf_error *err = NULL;
	pid_t pid;
	int fd = cgf_monitor_open(hierarchy, 0, &monitor, &err), result = -1;

	if (fd < 0)
		return report("monitoring", err);
	if (cgf_spawn(group, tree[0], tree, NULL, &pid, &err) < 0)
		report("starting the tree", err);
	else
		result = follow(monitor, fd);
	cgf_monitor_free(monitor);
	return result;
}

int main(void)
{
	const char *more = getenv("CGF_OPTIONS");
	struct cgf_hierarchy *hierarchy;
	struct cgf_group *group;
	struct cgf_error *err = NULL;
	char name[64], options[256];
	int result;

	if (cgf_subsystem_register(&logger, &err) < 0)
		return report("registering", err), EXIT_FAILURE;
	snprintf(name, sizeof(name), "log-%d", (int)getpid());
	snprintf(options, sizeof(options), "freezer,signal,log%s%s", more ? "," : "", more ? more : "");
	if (cgf_hierarchy_open(name, options, &hierarchy, &err) < 0)
		return report("opening the hierarchy", err), EXIT_FAILURE;
	if (cgf_group_create(hierarchy, "web", &group, &err) < 0)
		return report("making the group", err), EXIT_FAILURE;

	result = try_it(hierarchy, group);

	if (cgf_group_remove(group, CGF_REMOVE_KILL, &err) < 0)
		result = report("removing the group", err);
	while (wait(NULL) > 0)
		;
	cgf_group_free(group);
	if (cgf_hierarchy_unmount(hierarchy, &err) < 0)
		result = report("ending the hierarchy", err);
	cgf_hierarchy_free(hierarchy);
	return result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
