/*
 * A container runtime in a hundred lines: one group per container. It starts a
 * program inside, freezes it with a deadline, shows what state it is in, thaws
 * it, ends it and removes the group.
 *
 *     cc runtime.c $(pkg-config --cflags --libs libcgf) -o runtime
 *     ./runtime [PROGRAM [ARGUMENT ...]]
 *
 * CGF_OPTIONS may hold options of the hierarchy, such as "backend=embedded".
 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cgf.h>

/* Says what failed and who is to blame, and takes the error with it. */
static int report(const char *doing, struct cgf_error *err)
{
	struct cgf_blocker blockers[8];
	size_t count = cgf_error_blockers(err, blockers, sizeof(blockers[0]), 8);

	fprintf(stderr, "runtime: %s: %s\n", doing, cgf_error_message(err));
	for (size_t i = 0; i < count && i < 8; i++)
		fprintf(stderr, "    %s (process %d, thread %d) is in state %c%s%s\n", blockers[i].command,
			(int)blockers[i].pid, (int)blockers[i].tid, blockers[i].state,
			blockers[i].waits_in[0] ? ", in " : "", blockers[i].waits_in);
	cgf_error_free(err);
	return -1;
}

static int show(const struct cgf_group *group)
{
	static const char *const names[] = { "THAWED", "FREEZING", "FROZEN", "CHECKPOINTING" };
	struct cgf_error *err = NULL;
	pid_t pids[16];
	ssize_t count = cgf_procs(group, pids, 16, &err);
	int state = count < 0 ? -1 : cgf_state(group, &err);

	if (state < 0)
		return report("looking at the group", err);
	printf("%-8s with %zd process%s\n", names[state], count, count == 1 ? "" : "es");
	return 0;
}

/* The life of one container. Whatever fails, the caller removes the group. */
static int live(struct cgf_group *group, char *const argv[])
{
	/* A session of its own, and no descriptors but the three standard ones. */
	struct cgf_spawn_options options = {
		.size = sizeof(options),
		.flags = CGF_SPAWN_SESSION | CGF_SPAWN_CLOSE_FDS,
	};
	struct cgf_error *err = NULL;
	pid_t pid;
	int status;

	if (cgf_spawn_with(group, argv[0], argv, NULL, &options, &pid, &err) < 0)
		return report("starting the program", err);
	printf("started  %s as process %d\n", argv[0], (int)pid);
	if (show(group) < 0)
		return -1;

	/* Two seconds, or as it was before: a container is never left half-frozen. */
	if (cgf_freeze(group, 2000, CGF_FREEZE_ROLLBACK, &err) < 0)
		return report("freezing", err);
	if (show(group) < 0)
		return -1;
	if (cgf_thaw(group, &err) < 0)
		return report("thawing", err);
	if (show(group) < 0)
		return -1;

	if (cgf_kill(group, SIGKILL, &err) < 0)
		return report("killing", err);
	waitpid(pid, &status, 0);
	printf("ended    by signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	return 0;
}

int main(int argc, char *argv[])
{
	char *pause[] = { "sleep", "60", NULL };
	const char *options = getenv("CGF_OPTIONS");
	struct cgf_hierarchy *containers;
	struct cgf_group *group;
	struct cgf_error *err = NULL;
	char name[64];
	int result;

	snprintf(name, sizeof(name), "runtime-%d", (int)getpid());
	if (cgf_hierarchy_open(name, options ? options : "", &containers, &err) < 0)
		return report("opening the hierarchy", err), EXIT_FAILURE;
	printf("libcgf   %s on %s\n", cgf_version(), cgf_hierarchy_backend(containers));
	if (cgf_group_create(containers, "web/1", &group, &err) < 0)
		return report("making the group", err), EXIT_FAILURE;

	result = live(group, argc > 1 ? argv + 1 : pause);

	cgf_group_free(group);
	group = NULL;
	if (cgf_group_open(containers, "web", &group, &err) < 0 ||
	    cgf_group_remove(group, CGF_REMOVE_KILL | CGF_REMOVE_RECURSIVE, &err) < 0)
		result = report("removing the group", err);
	else
		puts("removed");
	cgf_group_free(group);
	if (cgf_hierarchy_unmount(containers, &err) < 0)
		result = report("ending the hierarchy", err);
	cgf_hierarchy_free(containers);
	return result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
