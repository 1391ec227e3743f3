/* R1.5, R1.6: a controller hears of hierarchies and groups that come and go, and of copies. */
#include "t.h"

static char happened[1024], fails_at[64];

static int note(const char *what, const struct cgf_group *g, const struct cgf_group *parent)
{
	char path[64] = "", above[64] = "", entry[192];

	OK(cgf_group_path(g, path, sizeof(path), &err));
	if (parent)
		OK(cgf_group_path(parent, above, sizeof(above), &err));
	snprintf(entry, sizeof(entry), "%s %s%s%s\n", what, path, parent ? " of " : "", above);
	strncat(happened, entry, sizeof(happened) - strlen(happened) - 1);
	return strcmp(what, fails_at) ? 0 : -EXFULL;
}

static int create(void *state, struct cgf_group *g)
{
	(void)state;
	CHECK(OK(cgf_procs(g, NULL, 0, &err)) == 0);
	return note("create", g, NULL);
}

static int destroy(void *state, struct cgf_group *g)
{
	(void)state;
	FAILS(ENODEV, cgf_procs(g, NULL, 0, &err));
	return note("destroy", g, NULL);
}

static int post_clone(void *state, struct cgf_group *g, struct cgf_group *parent)
{
	char text[64];

	(void)state;
	OK(cgf_attribute_get(g, "notes.kept", text, sizeof(text), &err));
	CHECK(!strcmp(text, "for the copy"));
	return note("post_clone", g, parent);
}

static int hierarchy(const char *what, struct cgf_hierarchy *h)
{
	CHECK(*cgf_hierarchy_backend(h));
	strcat(happened, what);
	strcat(happened, "\n");
	return strcmp(what, fails_at) ? 0 : -EXFULL;
}

static int mount(void *state, struct cgf_hierarchy *h)
{
	(void)state;
	return hierarchy("mount", h);
}

static int unmount(void *state, struct cgf_hierarchy *h)
{
	(void)state;
	return hierarchy("unmount", h);
}

static int after_one(void *state, struct cgf_group *g)
{
	(void)state;
	return note("after", g, NULL);
}

static void was(const char *expected)
{
	if (strcmp(happened, expected))
		t_fail(__FILE__, __LINE__, "not:\n%sbut:\n%s", expected, happened);
	happened[0] = 0;
}

int main(int argc, char *argv[])
{
	struct cgf_subsystem s = {
		.size = sizeof(s),
		.name = "notes",
		.create = create,
		.destroy = destroy,
		.post_clone = post_clone,
		.mount = mount,
		.unmount = unmount,
	};
	struct cgf_subsystem after = { .size = sizeof(after), .name = "zz", .create = after_one };
	struct cgf_group *group, *copy = NULL, *where;
	struct cgf_hierarchy *h = NULL;
	char text[64];
	pid_t pid;

	(void)argc;
	OK(cgf_subsystem_register(&s, &err));
	OK(cgf_subsystem_register(&after, &err));
	T_BEGIN_WITH(",signal,notes,zz");
	was("mount\n");
	group = t_group("a/b");
	was("create /a\nafter /a\ncreate /a/b\nafter /a/b\n");
	snprintf(fails_at, sizeof(fails_at), "create");
	FAILS(EXFULL, cgf_group_create(t_h, "c", &copy, &err));
	FAILS(ENOENT, cgf_group_open(t_h, "c", &copy, &err));
	was("create /c\n");
	snprintf(fails_at, sizeof(fails_at), "after");
	FAILS(EXFULL, cgf_group_create(t_h, "c", &copy, &err));
	FAILS(ENOENT, cgf_group_open(t_h, "c", &copy, &err));
	was("create /c\nafter /c\ndestroy /c\n");
	fails_at[0] = 0;

	/* R1.5: a copy is below, has the notes, and the process is in it. */
	OK(cgf_attribute_set(group, "notes.kept", "for the copy", &err));
	pid = t_outside();
	OK(cgf_attach(group, pid, &err));
	snprintf(fails_at, sizeof(fails_at), "post_clone");
	FAILS(EXFULL, cgf_group_clone(t_h, pid, "copy", &copy, &err));
	was("create /a/b/copy\nafter /a/b/copy\npost_clone /a/b/copy of /a/b\ndestroy /a/b/copy\n");
	CHECK(!copy && OK(cgf_procs(group, NULL, 0, &err)) == 1);
	fails_at[0] = 0;
	OK(cgf_group_clone(t_h, pid, "copy", &copy, &err));
	was("create /a/b/copy\nafter /a/b/copy\npost_clone /a/b/copy of /a/b\n");
	OK(cgf_group_path(copy, text, sizeof(text), &err));
	CHECK(!strcmp(text, "/a/b/copy"));
	OK(cgf_group_of(t_h, pid, &where, &err));
	OK(cgf_group_path(where, text, sizeof(text), &err));
	CHECK(!strcmp(text, "/a/b/copy"));
	cgf_group_free(where);
	OK(cgf_attribute_get(copy, "notes.kept", text, sizeof(text), &err));
	CHECK(!strcmp(text, "for the copy"));
	/* A copy of its own: what changes there does not change here. */
	OK(cgf_attribute_set(copy, "notes.kept", "otherwise", &err));
	OK(cgf_attribute_get(group, "notes.kept", text, sizeof(text), &err));
	CHECK(!strcmp(text, "for the copy"));
	FAILS(ESRCH, cgf_group_clone(t_h, 0x3fffffff, "other", &where, &err));
	FAILS(EINVAL, cgf_group_clone(t_h, pid, "a/b", &where, &err));
	FAILS(EINVAL, cgf_group_clone(t_h, -1, "other", &where, &err));
	was("");
	cgf_group_free(copy);
	OK(cgf_group_remove(group, CGF_REMOVE_KILL | CGF_REMOVE_RECURSIVE, &err));
	was("destroy /a/b/copy\ndestroy /a/b\n");
	cgf_group_free(group);
	t_reap_killed(pid);
	OK(cgf_group_open(t_h, "a", &group, &err));
	t_remove(group);
	was("destroy /a\n");

	/* Who refuses a hierarchy has none. */
	snprintf(fails_at, sizeof(fails_at), "mount");
	t_no_other(EXFULL, ",notes");
	fails_at[0] = 0;
	FAILS(ENOENT, cgf_hierarchy_open_existing(t_other_name, t_other_options, &h, &err));
	was("mount\n");

	T_END();
	was("unmount\n");
	OK(cgf_subsystem_unregister("notes", &err));
	OK(cgf_subsystem_unregister("zz", &err));
	return 0;
}
