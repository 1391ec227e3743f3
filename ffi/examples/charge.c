/*
 * Work that is paid for: a pool of eight connections, shared by all processes that
 * open the hierarchy, which no crash can leak.
 *
 *     cc charge.c $(pkg-config --cflags --libs libcgf) -o charge
 *     ./charge
 *
 * CGF_OPTIONS may hold options of the hierarchy, such as "backend=embedded".
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cgf.h>

enum { POOL = 8, COMFORTABLE = 6 };

static int report(const char *what, struct cgf_error *err)
{
	int result = -cgf_error_errno(err);

	fprintf(stderr, "%s: %s\n", what, cgf_error_message(err));
	cgf_error_free(err);
	return result;
}

/* The pool has room, but not much any more: a good time to close idle ones. */
static void barrier_hit(void *state, struct cgf_group *group, uint32_t resource, uint64_t amount)
{
	(void)state;
	(void)group;
	(void)resource;
	printf("%" PRIu64 " more took us over the barrier\n", amount);
}

/* Somebody would be refused: here is the last chance to give something back. */
static int limit_hit(void *state, struct cgf_group *group, uint32_t resource, uint64_t amount)
{
	int *idle = state;

	(void)amount;
	if (*idle == 0)
		return 0;
	printf("closing %d idle ones\n", *idle);
	cgf_uncharge(group, resource, (uint64_t)*idle);
	*idle = 0;
	return 1;
}

/* A worker that takes three, and is killed. */
static void be_killed(const char *name, const char *options)
{
	struct cgf_hierarchy *hierarchy;
	struct cgf_group *group;
	uint32_t connections;

	if (cgf_hierarchy_open(name, options, &hierarchy, NULL) ||
	    cgf_group_open(hierarchy, "web", &group, NULL) ||
	    cgf_resource_register(hierarchy, "connections", NULL, NULL, &connections, NULL) ||
	    cgf_charge(group, connections, 3, CGF_LIMIT))
		_exit(1);
	raise(SIGKILL);
}

static uint64_t held(struct cgf_group *group, uint32_t resource)
{
	struct cgf_beancounter counters[8];
	ssize_t count = cgf_snapshot(group, counters, sizeof(counters[0]), 8, NULL, NULL);

	return (ssize_t)resource < count ? counters[resource].held : 0;
}

static int try_it(struct cgf_group *group, uint32_t connections, int *idle, const char *name, const char *options)
{
	struct cgf_error *err = NULL;
	struct cgf_amount one = { connections, 1 };
	pid_t worker;

	if (cgf_set_limits(group, connections, COMFORTABLE, POOL, &err) < 0)
		return report("setting the limits", err);

	worker = fork();
	if (worker < 0)
		return -1;
	if (worker == 0)
		be_killed(name, options);
	waitpid(worker, NULL, 0);
	printf("a worker was killed; held: %" PRIu64 "\n", held(group, connections));

	/* Five in use, and then two more that go idle. */
	if (cgf_charge(group, connections, 5, CGF_LIMIT) || cgf_charge(group, connections, 2, CGF_LIMIT))
		return -1;
	*idle = 2;
	if (cgf_charge(group, connections, 3, CGF_LIMIT))
		return -1;
	printf("held: %" PRIu64 "\n", held(group, connections));
	if (cgf_charge_many(group, &one, 1, CGF_LIMIT, &err) < 0) {
		report("one more", err);
		printf("one more is refused\n");
	}
	return cgf_uncharge(group, connections, POOL);
}

int main(void)
{
	const char *more = getenv("CGF_OPTIONS");
	struct cgf_hierarchy *hierarchy = NULL;
	struct cgf_group *group = NULL;
	struct cgf_error *err = NULL;
	int idle = 0;
	struct cgf_resource_callbacks callbacks = {
		.size = sizeof(callbacks),
		.state = &idle,
		.barrier_hit = barrier_hit,
		.limit_hit = limit_hit,
	};
	char name[64], options[256];
	uint32_t connections;
	int result;

	/* What a child would print again, if it were still to be written. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(name, sizeof(name), "charge-%d", (int)getpid());
	snprintf(options, sizeof(options), "freezer,signal,beancounter%s%s", more ? "," : "", more ? more : "");
	if (cgf_hierarchy_open(name, options, &hierarchy, &err) < 0)
		return report("opening the hierarchy", err), EXIT_FAILURE;
	if (cgf_group_create(hierarchy, "web", &group, &err) < 0)
		return report("making the group", err), EXIT_FAILURE;
	result = cgf_resource_register(hierarchy, "connections", "count", &callbacks, &connections, &err);
	if (result < 0)
		report("naming the resource", err);
	else
		result = try_it(group, connections, &idle, name, options);

	if (cgf_group_remove(group, CGF_REMOVE_KILL, &err) < 0)
		result = report("removing the group", err);
	cgf_group_free(group);
	if (cgf_hierarchy_unmount(hierarchy, &err) < 0)
		result = report("ending the hierarchy", err);
	cgf_hierarchy_free(hierarchy);
	return result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
