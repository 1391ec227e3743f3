/* R1.6, R1.8: the control files of a controller: what it says is what is read. */
#include <limits.h>

#include "t.h"

static struct {
	size_t length; /* of the long file's text */
	size_t reads;
	char written[64];
	char written_at[64];
} seen;

/* As much of a long text as fits, with no NUL. */
static ssize_t read_long(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	size_t fitting = seen.length < cap ? seen.length : cap;

	(void)g;
	CHECK(state == &seen);
	seen.reads++;
	for (size_t i = 0; i < fitting; i++)
		buf[i] = i + 1 == seen.length ? '\n' : (char)('a' + i % 26);
	return (ssize_t)seen.length;
}

/* Always one more than there is room for. */
static ssize_t read_growing(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	(void)state;
	(void)g;
	memset(buf, 'x', cap);
	seen.reads++;
	return (ssize_t)cap + 1;
}

static ssize_t read_path(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	(void)state;
	return cgf_group_path(g, buf, cap, NULL);
}

/* As many programs would do it: the NUL takes the place of the last byte. */
static ssize_t read_printed(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	(void)state;
	(void)g;
	seen.reads++;
	return snprintf(buf, cap, "%0*d\n", (int)seen.length - 1, 7);
}

static ssize_t read_huge(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	(void)state;
	(void)g;
	(void)buf;
	(void)cap;
	return SSIZE_MAX;
}

static ssize_t read_binary(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	(void)state;
	(void)g;
	(void)cap;
	buf[0] = '\xff';
	return 1;
}

static ssize_t read_failing(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	(void)state;
	(void)g;
	(void)buf;
	(void)cap;
	return -EPERM;
}

static ssize_t read_confused(void *state, const struct cgf_group *g, char *buf, size_t cap)
{
	(void)state;
	(void)g;
	(void)buf;
	(void)cap;
	return -5000;
}

static int write_note(void *state, struct cgf_group *g, const char *text)
{
	CHECK(state == &seen);
	snprintf(seen.written, sizeof(seen.written), "%s", text);
	OK(cgf_group_path(g, seen.written_at, sizeof(seen.written_at), &err));
	if (!strcmp(text, "no"))
		return -EDOM;
	return !strcmp(text, "wrong") ? EDOM : 0;
}

#define FILE_OF(...) { .size = sizeof(struct cgf_control_file), __VA_ARGS__ }

static const struct cgf_control_file files[] = {
	FILE_OF(.name = "long", .read = read_long),
	FILE_OF(.name = "growing", .read = read_growing),
	FILE_OF(.name = "path", .read = read_path, .write = write_note),
	FILE_OF(.name = "printed", .read = read_printed),
	FILE_OF(.name = "huge", .read = read_huge),
	FILE_OF(.name = "binary", .read = read_binary),
	FILE_OF(.name = "failing", .read = read_failing),
	FILE_OF(.name = "confused", .read = read_confused),
	FILE_OF(.name = "note", .write = write_note),
	FILE_OF(.name = "nothing"),
	FILE_OF(.name = "top", .read = read_path, .write = write_note, .flags = CGF_FILE_ROOT),
};

static const struct cgf_subsystem notes = {
	.size = sizeof(notes),
	.name = "notes",
	.state = &seen,
	.files = files,
	.nfiles = sizeof(files) / sizeof(files[0]),
};

/* A text of this length is read whole, by as many calls as it takes. */
static void whole(struct cgf_group *group, const char *file, size_t length, size_t calls)
{
	char *text = malloc(length + 2);

	memset(text, '#', length + 2);
	seen.length = length;
	seen.reads = 0;
	CHECK(OK(cgf_read(group, file, text, length + 1, &err)) == (long)length);
	CHECK(seen.reads == calls);
	CHECK(text[length] == 0 && text[length + 1] == '#');
	if (length)
		CHECK(text[length - 1] == '\n' && strlen(text) == length);
	if (length && !strcmp(file, "notes.long"))
		for (size_t i = 0; i + 1 < length; i++)
			CHECK(text[i] == (char)('a' + i % 26));
	free(text);
}

static void listed(struct cgf_group *group, const char *expected)
{
	char text[1024];
	long length = OK(cgf_control_files(group, NULL, 0, &err));

	CHECK(OK(cgf_control_files(group, text, sizeof(text), &err)) == length);
	CHECK(length == (long)strlen(text));
	if (strcmp(text, expected))
		t_fail(__FILE__, __LINE__, "not:\n%s\nbut:\n%s", expected, text);
	memset(text, '#', sizeof(text));
	CHECK(OK(cgf_control_files(group, text, 7, &err)) == length);
	CHECK(!memcmp(text, expected, 7) && text[7] == '#');
}

#define OURS \
	"notes.binary\nnotes.confused\nnotes.failing\nnotes.growing\nnotes.huge\nnotes.long\nnotes.note\n" \
	"notes.nothing\nnotes.path\nnotes.printed\n"

int main(int argc, char *argv[])
{
	struct cgf_group *group, *root;

	(void)argc;
	OK(cgf_subsystem_register(&notes, &err));
	T_BEGIN_WITH(",notes");
	group = t_group("g");
	OK(cgf_group_open(t_h, "/", &root, &err));
	listed(group, "auto_delete\ncgroup.procs\n" OURS "notify_on_release\ntasks\n");
	listed(root, "auto_delete\ncgroup.procs\n" OURS "notes.top\nnotify_on_release\nrelease_agent\ntasks\n");

	whole(group, "notes.long", 0, 1);
	whole(group, "notes.long", 100, 1);
	whole(group, "notes.long", 100000, 2);
	for (size_t length = 4090; length < 4100; length++) {
		whole(group, "notes.long", length, length < 4096 ? 1 : 2);
		whole(group, "notes.printed", length, length < 4096 ? 1 : 2);
	}
	seen.reads = 0;
	FAILS(EAGAIN, cgf_read(group, "notes.growing", NULL, 0, &err));
	CHECK(seen.reads > 1 && seen.reads < 100);
	FAILS(EFBIG, cgf_read(group, "notes.huge", NULL, 0, &err));
	FAILS(EINVAL, cgf_read(group, "notes.binary", NULL, 0, &err));
	FAILS(EPERM, cgf_read(group, "notes.failing", NULL, 0, &err));
	/* Neither a length nor an errno: that is said. */
	CHECK(cgf_read(group, "notes.confused", NULL, 0, &err) == -EINVAL);
	CHECK(strstr(cgf_error_message(err), "-5000"));
	cgf_error_free(err);
	err = NULL;
	t_reads(group, "notes.path", "/g");

	OK(cgf_write(group, "notes.note", "a b\n", &err));
	CHECK(!strcmp(seen.written, "a b") && !strcmp(seen.written_at, "/g"));
	OK(cgf_write(group, "notes.note", "", &err));
	CHECK(!strcmp(seen.written, ""));
	FAILS(EDOM, cgf_write(group, "notes.note", "no", &err));
	/* The sign was forgotten: that is said, and is no success. */
	CHECK(cgf_write(group, "notes.note", "wrong", &err) == -EINVAL);
	CHECK(strstr(cgf_error_message(err), "33"));
	cgf_error_free(err);
	err = NULL;

	FAILS(EACCES, cgf_write(group, "notes.long", "x", &err));
	FAILS(EACCES, cgf_read(group, "notes.note", NULL, 0, &err));
	FAILS(EACCES, cgf_read(group, "notes.nothing", NULL, 0, &err));
	FAILS(EACCES, cgf_write(group, "notes.nothing", "x", &err));
	t_reads(root, "notes.top", "/");
	OK(cgf_write(root, "notes.top", "x", &err));
	CHECK(!strcmp(seen.written_at, "/"));
	FAILS(ENOENT, cgf_read(group, "notes.top", NULL, 0, &err));
	FAILS(ENOENT, cgf_write(group, "notes.top", "x", &err));
	/* Neither freezer nor signal is bound. */
	FAILS(ENOENT, cgf_read(group, "freezer.state", NULL, 0, &err));

	cgf_group_free(root);
	t_remove(group);
	OK(cgf_subsystem_unregister("notes", &err));
	return T_END();
}
