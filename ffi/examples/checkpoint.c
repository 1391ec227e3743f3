/*
 * What a checkpoint tool does, with a very small image: it freezes a group, holds
 * it CHECKPOINTING while it reads what the processes have in memory, and keeps
 * the image only if nothing ran meanwhile. Others are kept out: a thaw fails.
 *
 *     cc checkpoint.c $(pkg-config --cflags --libs libcgf) -o checkpoint
 *     ./checkpoint [PROGRAM [ARGUMENT ...]]
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

/* Says what failed, which tasks it is about, and takes the error with it. */
static int report(const char *doing, struct cgf_error *err)
{
	struct cgf_blocker tasks[8];
	size_t count = cgf_error_blockers(err, tasks, sizeof(tasks[0]), 8);

	fprintf(stderr, "checkpoint: %s: %s\n", doing, cgf_error_message(err));
	for (size_t i = 0; i < count && i < 8; i++)
		fprintf(stderr, "    %s (process %d, thread %d)%s\n", tasks[i].command, (int)tasks[i].pid,
			(int)tasks[i].tid, tasks[i].evidence == CGF_EVIDENCE_OUTSIDE ? " is outside" : "");
	cgf_error_free(err);
	return -1;
}

/* The image: how many areas of memory the process has. */
static int take_image(pid_t pid)
{
	char path[32];
	FILE *maps;
	int byte, areas = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "r");
	if (!maps) {
		perror(path);
		return -1;
	}
	while ((byte = getc(maps)) != EOF)
		areas += byte == '\n';
	fclose(maps);
	return areas;
}

static int checkpoint(struct cgf_group *group, pid_t root)
{
	struct cgf_checkpoint *checkpoint;
	struct cgf_error *err = NULL;
	int areas, thawed;

	/* All of the process's family must be in the group, or it fails with -EXDEV. */
	if (cgf_checkpoint_begin(group, root, &checkpoint, &err) < 0)
		return report("beginning", err);
	areas = take_image(root);

	/* Nobody who uses the library gets at it now, in whichever process. */
	thawed = cgf_thaw(group, &err);
	if (thawed < 0)
		printf("kept out %s\n", cgf_error_message(err));
	cgf_error_free(err);
	err = NULL;

	/* A long job may look from time to time whether it is worth going on. */
	if (cgf_checkpoint_verify(checkpoint, &err) < 0) {
		report("verifying", err);
		err = NULL;
	}

	/* It is over now in any case; only this says that the image is a good one. */
	if (cgf_checkpoint_end(checkpoint, &err) < 0)
		return report("the image is worthless", err);
	printf("image    of %d areas of memory, in which nothing ran\n", areas);
	return areas < 0 || thawed >= 0 ? -1 : 0;
}

static int live(struct cgf_group *group, char *const argv[])
{
	struct cgf_error *err = NULL;
	pid_t pid;
	int result;

	if (cgf_spawn(group, argv[0], argv, NULL, &pid, &err) < 0)
		return report("starting the program", err);
	printf("started  %s as process %d\n", argv[0], (int)pid);
	if (cgf_freeze(group, 2000, CGF_FREEZE_ROLLBACK, &err) < 0)
		result = report("freezing", err);
	else
		result = checkpoint(group, pid);
	if (cgf_thaw(group, &err) < 0) {
		result = report("thawing", err);
		err = NULL;
	}
	if (cgf_kill(group, SIGKILL, &err) < 0)
		return report("killing", err);
	waitpid(pid, NULL, 0);
	return result;
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

	snprintf(name, sizeof(name), "checkpoint-%d", (int)getpid());
	if (cgf_hierarchy_open(name, options ? options : "", &containers, &err) < 0)
		return report("opening the hierarchy", err), EXIT_FAILURE;
	if (cgf_group_create(containers, "web", &group, &err) < 0)
		return report("making the group", err), EXIT_FAILURE;
	result = live(group, argc > 1 ? argv + 1 : pause);
	if (cgf_group_remove(group, CGF_REMOVE_KILL, &err) < 0) {
		result = report("removing the group", err);
		err = NULL;
	}
	cgf_group_free(group);
	if (cgf_hierarchy_unmount(containers, &err) < 0)
		result = report("ending the hierarchy", err);
	cgf_hierarchy_free(containers);
	return result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
