/* R1.6: a controller that limits a group to so many members, and is asked about every one. */
#include "t.h"

static int refusals;

static int can_attach(void *state, const struct cgf_attachment *a)
{
	struct cgf_group *group = cgf_attachment_group(a);
	char text[32];
	ssize_t length = cgf_attribute_get(group, "members.max", text, sizeof(text), NULL);

	(void)state;
	if (length == -ENODATA)
		return 0;
	if (length < 0)
		return (int)length;
	if (cgf_procs(group, NULL, 0, NULL) < atoi(text))
		return 0;
	refusals++;
	return -ENOSPC;
}

static ssize_t read_max(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	char text[32];
	ssize_t length = cgf_attribute_get(g, "members.max", text, sizeof(text), NULL);

	(void)state;
	if (length < 0)
		return length == -ENODATA ? snprintf(buf, cap, "max\n") : length;
	return snprintf(buf, cap, "%s\n", text);
}

static int write_max(void *state, struct cgf_group *g, const char *text)
{
	(void)state;
	if (!strcmp(text, "max"))
		return cgf_attribute_set(g, "members.max", NULL, NULL);
	if (!*text || strspn(text, "0123456789") != strlen(text))
		return -EINVAL;
	return cgf_attribute_set(g, "members.max", text, NULL);
}

static const struct cgf_control_file files[] = {
	{ .size = sizeof(files[0]), .name = "max", .read = read_max, .write = write_max },
};

static const struct cgf_subsystem members = {
	.size = sizeof(members),
	.name = "members",
	.files = files,
	.nfiles = 1,
	.can_attach = can_attach,
};

int main(int argc, char *argv[])
{
	struct cgf_group *group;
	char *sleep[] = { "sleep", "100", NULL };
	pid_t first, second, third, pid = 7;

	(void)argc;
	OK(cgf_subsystem_register(&members, &err));
	T_BEGIN_WITH(",freezer,signal,members");
	group = t_group("g");
	t_reads(group, "members.max", "max\n");
	OK(cgf_write(group, "members.max", "2\n", &err));
	t_reads(group, "members.max", "2\n");
	FAILS(EINVAL, cgf_write(group, "members.max", "many", &err));
	t_reads(group, "members.max", "2\n");

	first = t_sleeper(group);
	second = t_outside();
	third = t_outside();
	OK(cgf_attach(group, second, &err));
	CHECK(refusals == 0);
	CHECK(cgf_attach(group, third, &err) == -ENOSPC);
	/* It says who refused, and at which step. */
	CHECK(strstr(cgf_error_message(err), "members") && strstr(cgf_error_message(err), "can_attach"));
	cgf_error_free(err);
	err = NULL;
	FAILS(ENOSPC, cgf_attach_with(group, third, CGF_ATTACH_FROZEN, &err));
	FAILS(ENOSPC, cgf_spawn(group, "sleep", sleep, NULL, &pid, &err));
	CHECK(refusals == 3 && pid == 7);
	CHECK(OK(cgf_procs(group, NULL, 0, &err)) == 2);
	/* One who is in already does not come. */
	OK(cgf_attach(group, second, &err));

	/* Room by somebody's leaving, and by the limit's. */
	t_end_outside(second);
	OK(cgf_attach(group, third, &err));
	OK(cgf_write(group, "members.max", "max", &err));
	t_reads(group, "members.max", "max\n");
	pid = t_sleeper(group);
	CHECK(refusals == 3 && OK(cgf_procs(group, NULL, 0, &err)) == 3);

	t_remove(group);
	t_reap_killed(first);
	t_reap_killed(third);
	t_reap_killed(pid);
	OK(cgf_subsystem_unregister("members", &err));
	return T_END();
}
