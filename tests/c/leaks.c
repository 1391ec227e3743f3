/* Nothing is left of calls that succeed, or of calls that fail, many times over. */
#include "events.h"

static int refuse(void *state, const struct cgf_attachment *a)
{
	(void)a;
	return *(int *)state;
}

static ssize_t read_file(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	(void)state;
	return cgf_group_path(g, buf, cap, NULL);
}

/* A controller that comes and goes, with all that belongs to it. */
static void controller(void)
{
	int answer = 0;
	struct cgf_control_file file = { .size = sizeof(file), .name = "file", .read = read_file };
	struct cgf_subsystem s = {
		.size = sizeof(s),
		.name = "leaky",
		.controllers = "pids,cpuacct",
		.state = &answer,
		.files = &file,
		.nfiles = 1,
		.attach = refuse,
	};
	struct cgf_reference *reference;
	struct cgf_hierarchy *h;
	struct cgf_group *group, *copy;
	pid_t pid;

	OK(cgf_subsystem_register(&s, &err));
	FAILS(EEXIST, cgf_subsystem_register(&s, &err));
	h = t_other(",signal,leaky");
	OK(cgf_group_create(h, "g", &group, &err));
	OK(cgf_attribute_set(group, "leaky.key", "value", &err));
	OK(cgf_control_files(group, NULL, 0, &err));
	OK(cgf_read(group, "leaky.file", NULL, 0, &err));
	FAILS(ENODEV, cgf_controller_fd(group, "no_such", &err));
	pid = t_sleeper(group);
	OK(cgf_group_clone(h, pid, "copy", &copy, &err));
	answer = -EPERM;
	FAILS(EPERM, cgf_attach(group, pid, &err));
	OK(cgf_reference(copy, &reference, &err));
	FAILS(EBUSY, cgf_group_remove(group, CGF_REMOVE_KILL | CGF_REMOVE_RECURSIVE, &err));
	cgf_reference_free(reference);
	cgf_group_free(copy);
	t_remove(group);
	t_reap_killed(pid);
	OK(cgf_hierarchy_unmount(h, &err));
	cgf_hierarchy_free(h);
	OK(cgf_subsystem_unregister("leaky", &err));
}

/* Events, those that nobody took among them. */
static void events(void)
{
	struct t_stream watch = t_watch(t_h, CGF_WATCH_TASKS), monitor = t_monitor(t_h, CGF_WATCH_LISTING);
	struct t_stream none = { 0 };
	struct cgf_group *group = t_group("g"), *brief = t_group("brief");
	char *argv[] = { "true", NULL };
	pid_t pid;

	FAILS(EINVAL, cgf_watch_open(t_h, 1 << 20, &none.watch, &err));
	FAILS(EINVAL, cgf_monitor_open(t_h, 1 << 20, &none.monitor, &err));
	OK(cgf_write(brief, "auto_delete", "1", &err));
	OK(cgf_write(group, "notify_on_release", "1", &err));
	OK(cgf_spawn(brief, "true", argv, NULL, &pid, &err));
	CHECK(t_wait(pid) == 0);
	t_comes(&monitor, CGF_EVENT_RELEASED, "/brief");
	t_comes(&watch, CGF_EVENT_CREATED, "/brief");
	cgf_group_free(brief);
	t_remove(group);
	t_free(&watch);
	t_free(&monitor);
}

/* Counters, with somebody who is called. */
static int limit_hit(void *state, struct cgf_group *g, uint32_t resource, uint64_t amount)
{
	(void)resource;
	(void)amount;
	return *(int *)state && cgf_group_path(g, NULL, 0, NULL) > 0;
}

static void counters(void)
{
	int answer = 1;
	struct cgf_resource_callbacks callbacks = { .size = sizeof(callbacks), .state = &answer, .limit_hit = limit_hit };
	struct cgf_hierarchy *h = t_other(",signal,beancounter");
	struct cgf_amount some[] = { { CGF_NUMFILES, 3 }, { CGF_KMEMSIZE, 5 } };
	struct cgf_beancounter found[8];
	struct cgf_group *group;
	uint32_t number;

	OK(cgf_group_create(h, "g", &group, &err));
	OK(cgf_resource_register(h, "widgets", "boxes", &callbacks, &number, &err));
	FAILS(EEXIST, cgf_resource_register(h, "widgets", "bytes", &callbacks, &number, &err));
	OK(cgf_set_limits(group, number, 1, 2, &err));
	CHECK(cgf_charge(group, number, 2, CGF_LIMIT) == 0);
	CHECK(cgf_charge(group, number, 1, CGF_LIMIT) == -ENOMEM);
	CHECK(cgf_uncharge(group, number, 2) == 0);
	OK(cgf_charge_many(group, some, 2, CGF_LIMIT, &err));
	FAILS(ENOENT, cgf_set_limits(group, 99, 1, 2, &err));
	OK(cgf_snapshot(group, found, sizeof(found[0]), 8, NULL, &err));
	OK(cgf_read(group, "bc.stat", NULL, 0, &err));
	OK(cgf_uncharge_many(group, some, 2, &err));
	t_remove(group);
	OK(cgf_hierarchy_unmount(h, &err));
	cgf_hierarchy_free(h);
}

static void round_trip(void)
{
	struct cgf_spawn_options options = { .size = sizeof(options) };
	char *argv[] = { "true", NULL };
	struct cgf_hierarchy *h = t_open("");
	struct cgf_group *group = t_group("a/b"), *same, *none;
	struct cgf_hold *hold;
	struct cgf_checkpoint *checkpoint;
	char text[256];
	pid_t pid, sleeper;
	int pidfd, fd;

	options.pidfd = &pidfd;
	OK(cgf_group_open(h, "a/b", &same, &err));
	OK(cgf_spawn_with(group, "true", argv, NULL, &options, &pid, &err));
	close(pidfd);
	CHECK(t_wait(pid) == 0);
	FAILS(ENOENT, cgf_spawn_with(group, "/no/such/program", argv, NULL, &options, &pid, &err));
	sleeper = t_sleeper(group);
	OK(cgf_hold(group, 5000, 0, &hold, &err));
	OK(cgf_hold_release(hold, &err));
	FAILS(EINVAL, cgf_checkpoint_begin(group, sleeper, &checkpoint, &err));
	OK(cgf_freeze(group, 5000, 0, &err));
	OK(cgf_checkpoint_begin(group, sleeper, &checkpoint, &err));
	FAILS(EBUSY, cgf_thaw(group, &err));
	OK(cgf_checkpoint_end(checkpoint, &err));
	FAILS(EBUSY, cgf_spawn(group, "true", argv, NULL, &pid, &err));
	OK(cgf_thaw(same, &err));
	OK(cgf_read(group, "freezer.state", text, sizeof(text), &err));
	FAILS(ENOENT, cgf_read(group, "none", text, sizeof(text), &err));
	fd = (int)OK(cgf_group_fd(group, &err));
	close(fd);
	FAILS(EEXIST, cgf_group_create(h, "a/b", &none, &err));
	FAILS(ENOENT, cgf_group_open(h, "c", &none, &err));
	FAILS(ESRCH, cgf_attach(group, 0x3fffffff, &err));
	FAILS(EBUSY, cgf_group_remove(group, 0, &err));
	cgf_group_free(same);
	t_remove(group);
	t_reap_killed(sleeper);
	OK(cgf_group_open(h, "a", &group, &err));
	t_remove(group);
	cgf_hierarchy_free(h);
	controller();
	events();
	counters();
}

int main(int argc, char *argv[])
{
	const char *few = getenv("CGF_FEW");
	int rounds = few ? 3 : 20, before, kept;

	(void)argc;
	T_BEGIN();
	round_trip();
	before = t_open_fds();
	kept = t_count_fds(1);
	for (int i = 0; i < rounds; i++)
		round_trip();
	CHECK(t_open_fds() == before && t_count_fds(1) <= kept);
	return T_END();
}
