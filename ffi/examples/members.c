/*
 * A controller of one's own in a hundred lines: "members" limits each group to
 * so many processes. The limit is a control file, "members.max".
 *
 *     cc members.c $(pkg-config --cflags --libs libcgf) -o members
 *     ./members
 *
 * CGF_OPTIONS may hold options of the hierarchy, such as "backend=embedded".
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cgf.h>

/*
 * The limit is noted on the group, where every process sees it, and goes with
 * it. This controller keeps nothing in memory, and so needs no state and no lock.
 */
static int find_max(const struct cgf_group *group, char text[16])
{
	ssize_t length = cgf_attribute_get(group, "members.max", text, 16, NULL);

	if (length == -ENODATA)
		strcpy(text, "max");
	return length < 0 && length != -ENODATA ? (int)length : 0;
}

/*
 * Asked before anybody comes in, by cgf_attach, cgf_spawn or cgf_group_clone. An
 * errno refuses.
 */
static int can_attach(void *state, const struct cgf_attachment *a)
{
	struct cgf_group *group = cgf_attachment_group(a);
	ssize_t members = cgf_procs(group, NULL, 0, NULL);
	char max[16];
	int result = find_max(group, max);

	(void)state;
	if (result < 0 || !strcmp(max, "max"))
		return result;
	if (members < 0)
		return (int)members;
	return members < strtol(max, NULL, 10) ? 0 : -ENOSPC;
}

static ssize_t read_max(void *state, const struct cgf_group *group, char *buf, size_t cap)
{
	char max[16];
	int result = find_max(group, max);

	(void)state;
	return result < 0 ? result : snprintf(buf, cap, "%s\n", max);
}

static int write_max(void *state, struct cgf_group *group, const char *text)
{
	(void)state;
	if (!strcmp(text, "max"))
		return cgf_attribute_set(group, "members.max", NULL, NULL);
	if (!*text || strlen(text) > 9 || text[strspn(text, "0123456789")])
		return -EINVAL;
	return cgf_attribute_set(group, "members.max", text, NULL);
}

static const struct cgf_control_file files[] = {
	{ .size = sizeof(files[0]), .name = "max", .read = read_max, .write = write_max },
};

static const struct cgf_subsystem members = {
	.size = sizeof(members),
	.name = "members",
	.files = files,
	.nfiles = sizeof(files) / sizeof(files[0]),
	.can_attach = can_attach,
};

/* Says what failed, and takes the error with it. */
static int report(const char *doing, struct cgf_error *err)
{
	fprintf(stderr, "members: %s: %s\n", doing, cgf_error_message(err));
	cgf_error_free(err);
	return -1;
}

/* A group with room for one, at whose door two knock. */
static int try_it(struct cgf_group *group)
{
	char *sleep[] = { "sleep", "60", NULL };
	struct cgf_error *err = NULL;
	pid_t pid;

	if (cgf_write(group, "members.max", "1", &err) < 0)
		return report("setting the limit", err);
	if (cgf_spawn(group, sleep[0], sleep, NULL, &pid, &err) < 0)
		return report("starting the first", err);
	puts("the first is in");
	if (cgf_spawn(group, sleep[0], sleep, NULL, &pid, &err) != -ENOSPC)
		return report("the second was not refused", err);
	printf("the second is refused: %s\n", cgf_error_message(err));
	cgf_error_free(err);
	return 0;
}

int main(void)
{
	const char *more = getenv("CGF_OPTIONS");
	struct cgf_hierarchy *hierarchy;
	struct cgf_group *group;
	struct cgf_error *err = NULL;
	char name[64], options[256];
	int result;

	/* Known to this process from now on: a hierarchy is opened with it by name. */
	if (cgf_subsystem_register(&members, &err) < 0)
		return report("registering", err), EXIT_FAILURE;
	snprintf(name, sizeof(name), "members-%d", (int)getpid());
	snprintf(options, sizeof(options), "freezer,signal,members%s%s", more ? "," : "", more ? more : "");
	if (cgf_hierarchy_open(name, options, &hierarchy, &err) < 0)
		return report("opening the hierarchy", err), EXIT_FAILURE;
	if (cgf_group_create(hierarchy, "web", &group, &err) < 0)
		return report("making the group", err), EXIT_FAILURE;

	result = try_it(group);

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
