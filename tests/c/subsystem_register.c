/* R1.6: what can be registered, from the past and the future too, and when its state is given back. */
#include "t.h"

static int frees, creates, attaches;

static void free_state(void *state)
{
	CHECK(state == &frees);
	frees++;
}

static int create(void *state, struct cgf_group *g)
{
	(void)g;
	CHECK(state == &frees);
	creates++;
	return 0;
}

static int attach(void *state, const struct cgf_attachment *a)
{
	(void)a;
	CHECK(state == &frees);
	attaches++;
	return 0;
}

static ssize_t read_file(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	(void)g;
	CHECK(state == &frees);
	return snprintf(buf, cap, "%d\n", frees);
}

/* What every test here begins with, and may change. */
static struct cgf_subsystem ours(void)
{
	return (struct cgf_subsystem){
		.size = sizeof(struct cgf_subsystem),
		.name = "ours",
		.state = &frees,
		.free = free_state,
		.create = create,
		.attach = attach,
	};
}

static void refused(int expected, struct cgf_subsystem s)
{
	FAILS(expected, cgf_subsystem_register(&s, &err));
	/* The state is still the caller's. */
	CHECK(frees == 0);
}

static void names(void)
{
	static const char *const bad[] = { "", "Ours", "our-s", "9ours", "_ours", "ours.x", "cgf", "cgroup", "\xff",
					   "a2345678901234567890123456789012x", "a/b", "our s" };
	struct cgf_subsystem s = ours();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		s.name = bad[i];
		refused(EINVAL, s);
		FAILS(ENOENT, cgf_subsystem_unregister(bad[i], &err));
	}
	s.name = NULL;
	refused(EINVAL, s);
	s.name = "freezer";
	refused(EEXIST, s);
	FAILS(ENOENT, cgf_subsystem_unregister("freezer", &err));
	FAILS(EINVAL, cgf_subsystem_register(NULL, &err));
	FAILS(EINVAL, cgf_subsystem_unregister(NULL, &err));
	t_no_other(ENOENT, ",ours");
}

static void controllers(void)
{
	static const char *const bad[] = { "", ",", "pids,", ",pids", "pids,,cpuset", "\xff" };
	struct cgf_subsystem s = ours();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		s.controllers = bad[i];
		refused(EINVAL, s);
	}
}

static void files(void)
{
	struct cgf_control_file two[2] = {
		{ .size = sizeof(two[0]), .name = "one", .read = read_file },
		{ .size = sizeof(two[0]), .name = "two", .read = read_file },
	};
	struct {
		struct cgf_control_file known;
		uint64_t more;
	} later[2] = { { .known = two[0] }, { .known = two[1] } };
	struct cgf_subsystem s = ours();
	struct cgf_hierarchy *h;
	struct cgf_group *root;

	s.nfiles = 1;
	refused(EINVAL, s);
	s.files = two;
	s.nfiles = 2;
	two[0].flags = 2;
	refused(EINVAL, s);
	two[0].flags = 0;
	two[1].name = NULL;
	refused(EINVAL, s);
	two[1].name = "\xff";
	refused(EINVAL, s);
	two[1].name = "two";
	two[1].size += 8;
	refused(EINVAL, s);
	two[1].size = 0;
	refused(EINVAL, s);
	two[0].size = two[1].size = sizeof(two[0]) - 8;
	refused(EINVAL, s);

	/* From the future: the stride is its size, and what we do not know must be zero. */
	s.files = &later[0].known;
	later[0].known.size = later[1].known.size = sizeof(later[0]);
	later[1].more = 1;
	refused(E2BIG, s);
	later[1].more = 0;
	OK(cgf_subsystem_register(&s, &err));
	h = t_other(",ours");
	OK(cgf_group_open(h, "/", &root, &err));
	t_reads(root, "ours.one", "0\n");
	t_reads(root, "ours.two", "0\n");
	cgf_group_free(root);
	OK(cgf_hierarchy_unmount(h, &err));
	cgf_hierarchy_free(h);
	OK(cgf_subsystem_unregister("ours", &err));
	CHECK(frees == 1);
	frees = 0;

	/* The names are seen when a hierarchy is opened. */
	s.files = two;
	two[0].size = two[1].size = sizeof(two[0]);
	for (int i = 0; i < 3; i++) {
		two[1].name = (const char *[]){ "one", "", "a/b" }[i];
		OK(cgf_subsystem_register(&s, &err));
		t_no_other(EINVAL, ",ours");
		OK(cgf_subsystem_unregister("ours", &err));
		CHECK(frees == 1);
		frees = 0;
	}
}

/* A caller whose structure is shorter, or longer, than the library's. */
static void sizes(void)
{
	struct {
		struct cgf_subsystem known;
		uint64_t more[4];
	} later = { .known = ours() };
	struct cgf_subsystem s = ours();
	struct cgf_hierarchy *h;
	struct cgf_group *group;
	pid_t pid;

	for (s.size = 0; s.size < 2 * sizeof(size_t); s.size++)
		refused(EINVAL, s);
	s.size = sizeof(s) - 1;
	refused(EINVAL, s);
	s.size = 1 << 20;
	refused(E2BIG, s);
	later.known.size = sizeof(later);
	later.more[3] = 1;
	FAILS(E2BIG, cgf_subsystem_register(&later.known, &err));
	CHECK(frees == 0);

	later.more[3] = 0;
	OK(cgf_subsystem_register(&later.known, &err));
	FAILS(EEXIST, cgf_subsystem_register(&later.known, &err));
	CHECK(frees == 0);
	OK(cgf_subsystem_unregister("ours", &err));
	CHECK(frees == 1);
	FAILS(ENOENT, cgf_subsystem_unregister("ours", &err));
	CHECK(frees == 1);
	frees = 0;

	/* From before attach was invented: the rest counts as NULL. */
	s = ours();
	s.size = offsetof(struct cgf_subsystem, attach);
	OK(cgf_subsystem_register(&s, &err));
	h = t_other(",signal,ours");
	creates = attaches = 0;
	OK(cgf_group_create(h, "g", &group, &err));
	pid = t_sleeper(group);
	CHECK(creates == 1 && attaches == 0);
	t_remove(group);
	t_reap_killed(pid);
	OK(cgf_hierarchy_unmount(h, &err));
	cgf_hierarchy_free(h);
	OK(cgf_subsystem_unregister("ours", &err));
	CHECK(frees == 1);
	frees = 0;

	/* A name, and nothing else. */
	s.size = 2 * sizeof(size_t);
	OK(cgf_subsystem_register(&s, &err));
	h = t_other(",ours");
	OK(cgf_hierarchy_unmount(h, &err));
	cgf_hierarchy_free(h);
	OK(cgf_subsystem_unregister("ours", &err));
	CHECK(frees == 0);
}

/* All that was given is copied; the state is given back by the last who had it. */
static void life(void)
{
	char name[] = "ours", list[] = "pids,cpuset", file_name[] = "frees";
	struct cgf_control_file file = { .size = sizeof(file), .name = file_name, .read = read_file };
	struct cgf_subsystem s = ours();
	struct cgf_hierarchy *h;
	struct cgf_group *group, *same;
	pid_t child;

	s.name = name;
	s.controllers = list;
	s.files = &file;
	s.nfiles = 1;
	OK(cgf_subsystem_register(&s, &err));
	memset(name, 'x', sizeof(name) - 1);
	memset(list, 'x', sizeof(list) - 1);
	memset(file_name, 'x', sizeof(file_name) - 1);
	memset(&file, 0xff, sizeof(file));
	memset(&s, 0xff, sizeof(s));

	h = t_other(",ours");
	OK(cgf_group_create(h, "g", &group, &err));
	OK(cgf_group_open(h, "g", &same, &err));
	OK(cgf_subsystem_unregister("ours", &err));
	CHECK(frees == 0);
	/* The name is free again, and that of another: this hierarchy has its own. */
	s = ours();
	s.state = NULL;
	s.free = NULL;
	OK(cgf_subsystem_register(&s, &err));
	t_reads(group, "ours.frees", "0\n");
	OK(cgf_subsystem_unregister("ours", &err));

	/* A child frees its own handles, and thus its own copy of all this. */
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		cgf_group_free(group);
		cgf_hierarchy_free(h);
		CHECK(frees == 0);
		cgf_group_free(same);
		CHECK(frees == 1);
		_exit(0);
	}
	t_wait_part(child);
	CHECK(frees == 0);

	OK(cgf_group_remove(group, 0, &err));
	OK(cgf_hierarchy_unmount(h, &err));
	cgf_hierarchy_free(h);
	cgf_group_free(group);
	CHECK(frees == 0);
	cgf_group_free(same);
	CHECK(frees == 1);
	frees = 0;
}

/* A hierarchy outlives who registered its subsystem, and can be looked at. */
static void strangers(void)
{
	struct cgf_subsystem s = ours();
	struct cgf_hierarchy *h, *again;
	struct cgf_group *group, *none;
	char *sleep[] = { "sleep", "100", NULL };
	pid_t pid;

	OK(cgf_subsystem_register(&s, &err));
	h = t_other(",freezer,signal,ours");
	OK(cgf_group_create(h, "g", &group, &err));
	pid = t_sleeper(group);
	cgf_group_free(group);
	cgf_hierarchy_free(h);
	OK(cgf_subsystem_unregister("ours", &err));
	CHECK(frees == 1);
	frees = 0;

	t_no_other(ENOENT, ",freezer,signal,ours");
	again = t_other("");
	OK(cgf_group_open(again, "g", &group, &err));
	FAILS(ENOENT, cgf_group_create(again, "h", &none, &err));
	FAILS(ENOENT, cgf_attach(group, getpid(), &err));
	FAILS(ENOENT, cgf_spawn(group, "sleep", sleep, NULL, &pid, &err));
	CHECK(OK(cgf_procs(group, NULL, 0, &err)) == 1);
	OK(cgf_freeze(group, 5000, 0, &err));
	OK(cgf_thaw(group, &err));
	t_remove(group);
	t_reap_killed(pid);
	OK(cgf_hierarchy_unmount(again, &err));
	cgf_hierarchy_free(again);
}

int main(int argc, char *argv[])
{
	(void)argc;
	T_BEGIN();
	names();
	controllers();
	files();
	sizes();
	life();
	strangers();
	return T_END();
}
