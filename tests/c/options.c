/* R1.1, R1.3: which options and which names there are. */
#include "t.h"

static void refused(int expected, const char *options)
{
	struct cgf_hierarchy *h = NULL;

	FAILS(expected, cgf_hierarchy_open(t_name, options, &h, &err));
	CHECK(!h);
}

static void bad_path(int expected, const char *path)
{
	struct cgf_group *group = NULL;

	FAILS(expected, cgf_group_create(t_h, path, &group, &err));
	FAILS(expected, cgf_group_open(t_h, path, &group, &err));
	CHECK(!group);
}

int main(int argc, char *argv[])
{
	struct cgf_hierarchy *h;
	struct cgf_group *group, *outer;
	char options[4200], name[300];
	int embedded;

	(void)argc;
	T_BEGIN();
	refused(EINVAL, ",");
	refused(EINVAL, "freezer,,signal");
	refused(EINVAL, "freezer,freezer");
	refused(EINVAL, "backend=cgroup3");
	refused(EINVAL, "deadline=soon");
	refused(EINVAL, "root=here");
	refused(EINVAL, "speed=high");
	refused(ENOENT, "\xff\xfe");
	refused(EINVAL, "\xff=1");
	refused(ENOENT, "root=/\xff\xfe");
	refused(ENOENT, "freezer,nosuch");
	refused(ENOENT, "root=/no/such/directory");
	/* All are bound, so one alone is another set. */
	snprintf(options, sizeof(options), "freezer,backend=%s", t_backend());
	refused(EBUSY, options);
	snprintf(options, sizeof(options), "signal,freezer,backend=%s", t_backend());
	OK(cgf_hierarchy_open(t_name, options, &h, &err));
	cgf_hierarchy_free(h);
	FAILS(EINVAL, cgf_hierarchy_open("a/b", "", &h, &err));
	FAILS(EINVAL, cgf_hierarchy_open("", "", &h, &err));

	bad_path(EINVAL, "");
	bad_path(EINVAL, "..");
	bad_path(EINVAL, "a/../b");
	bad_path(EINVAL, "a//b");
	bad_path(EINVAL, "a\nb");
	bad_path(EINVAL, "cgroup.procs");
	bad_path(EINVAL, "a/tasks");
	memset(name, 'n', 256);
	name[256] = 0;
	bad_path(ENAMETOOLONG, name);
	memset(options, 'a', 4096);
	options[4096] = 0;
	bad_path(ENAMETOOLONG, options);

	/* A name is bytes, not text. */
	group = t_group("\xff\xfe caf\xe9");
	OK(cgf_group_path(group, name, sizeof(name), &err));
	CHECK(!strcmp(name, "/\xff\xfe caf\xe9"));
	t_remove(group);

	/*
	 * Somebody's directory, opened in place: ours this time. The embedded
	 * backend opens whole hierarchies only.
	 */
	outer = t_group("caf\xe9");
	group = t_group("caf\xe9/inner");
	OK(cgf_hierarchy_directory(t_h, name, sizeof(name), &err));
	embedded = t_is("embedded");
	snprintf(options, sizeof(options), "root=%s%s,backend=%s", name, embedded ? "" : "/caf\xe9", t_backend());
	OK(cgf_hierarchy_open("label", options, &h, &err));
	cgf_group_free(group);
	OK(cgf_group_open(h, embedded ? "caf\xe9/inner" : "inner", &group, &err));
	FAILS(EBUSY, cgf_hierarchy_unmount(h, &err));
	t_remove(group);
	if (embedded)
		FAILS(EBUSY, cgf_hierarchy_unmount(h, &err));
	else
		OK(cgf_hierarchy_unmount(h, &err));
	cgf_hierarchy_free(h);
	t_remove(outer);
	return T_END();
}
