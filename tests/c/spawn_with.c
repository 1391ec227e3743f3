/* R1.5: descriptors, directory, session, signals and environment of a child. */
#include <stddef.h>
#include <sys/mman.h>

#include "t.h"

static struct cgf_group *group;

/* What a program writes that is started with these options and a pipe. */
static const char *run(char *const argv[], struct cgf_spawn_options options, char *const envp[], pid_t *pid)
{
	static char text[4096];
	struct cgf_spawn_fd fds[8];
	size_t length = 0;
	ssize_t count;
	pid_t own;
	int ends[2];

	CHECK(!pipe2(ends, O_CLOEXEC) && options.fd_count < 8);
	if (options.fd_count)
		memcpy(fds, options.fds, options.fd_count * sizeof(fds[0]));
	fds[options.fd_count++] = (struct cgf_spawn_fd){ ends[1], 1 };
	options.fds = fds;
	options.size = sizeof(options);
	OK(cgf_spawn_with(group, argv[0], argv, envp, &options, pid ? pid : &own, &err));
	close(ends[1]);
	while ((count = read(ends[0], text + length, sizeof(text) - 1 - length)) > 0)
		length += (size_t)count;
	text[length] = 0;
	close(ends[0]);
	CHECK(t_wait(pid ? *pid : own) == 0);
	return text;
}

static const char *output(const char *script, struct cgf_spawn_options options, char *const envp[], pid_t *pid)
{
	char *argv[] = { "sh", "-c", (char *)script, NULL };

	return run(argv, options, envp, pid);
}

static void check_output(const char *expected, const char *script, struct cgf_spawn_options options)
{
	const char *text = output(script, options, NULL, NULL);

	if (strcmp(text, expected))
		t_fail(__FILE__, __LINE__, "%s: not \"%s\" but \"%s\"", script, expected, text);
}

static void environment(void)
{
	char *const envp[] = { "TWICE=1", "B=x=y", "EMPTY=", "TWICE=2", "PATH=/usr/bin:/bin", NULL };
	const char *text = output("echo $TWICE/$B/${EMPTY-unset}/${HOME-unset}", (struct cgf_spawn_options){ 0 }, envp, NULL);

	CHECK(!strcmp(text, "2/x=y//unset\n"));
	CHECK(!setenv("CGF_TEST_INHERITED", "yes", 1));
	check_output("yes\n", "echo $CGF_TEST_INHERITED", (struct cgf_spawn_options){ 0 });
}

static void descriptors(void)
{
	int first = memfd_create("first", 0), second = memfd_create("second", 0);
	struct cgf_spawn_fd swapped[2] = { { first, second }, { second, first } };
	struct cgf_spawn_fd given[1] = { { first, 9 } };
	struct cgf_spawn_fd wrong[1] = { { -1, 0 } };
	struct cgf_spawn_options options = { .size = sizeof(options), .fds = wrong, .fd_count = 1 };
	char *argv[] = { "true", NULL };
	char script[200];
	pid_t pid = 7;

	/* Both are inheritable, and take each other's places. */
	snprintf(script, sizeof(script), "readlink /proc/self/fd/%d /proc/self/fd/%d | tr -d '\\n'", first, second);
	check_output("/memfd:first (deleted)/memfd:second (deleted)", script, (struct cgf_spawn_options){ 0 });
	check_output("/memfd:second (deleted)/memfd:first (deleted)", script,
		     (struct cgf_spawn_options){ .fds = swapped, .fd_count = 2 });
	snprintf(script, sizeof(script), "for n in 3 4 5 6 7 8 9 10 11; do [ -e /proc/$$/fd/$n ] && echo $n; done; :");
	check_output("9\n", script,
		     (struct cgf_spawn_options){ .flags = CGF_SPAWN_CLOSE_FDS, .fds = given, .fd_count = 1 });
	CHECK(fcntl(first, F_GETFD) >= 0);

	FAILS(EBADF, cgf_spawn_with(group, "true", argv, NULL, &options, &pid, &err));
	wrong[0] = (struct cgf_spawn_fd){ 0, -1 };
	FAILS(EBADF, cgf_spawn_with(group, "true", argv, NULL, &options, &pid, &err));
	wrong[0] = (struct cgf_spawn_fd){ 987, 0 };
	FAILS(EBADF, cgf_spawn_with(group, "true", argv, NULL, &options, &pid, &err));
	wrong[0] = (struct cgf_spawn_fd){ 0, 0x7fffffff };
	FAILS(EBADF, cgf_spawn_with(group, "true", argv, NULL, &options, &pid, &err));
	options.fds = NULL;
	FAILS(EINVAL, cgf_spawn_with(group, "true", argv, NULL, &options, &pid, &err));
	CHECK(pid == 7);
	close(first);
	close(second);
}

static void directory(void)
{
	struct cgf_spawn_options options = { .size = sizeof(options), .cwd = "/no/such/directory" };
	char *argv[] = { "true", NULL };
	pid_t pid;

	check_output("/usr/bin\n", "pwd -P", (struct cgf_spawn_options){ .cwd = "/usr/bin" });
	FAILS(ENOENT, cgf_spawn_with(group, "true", argv, NULL, &options, &pid, &err));
}

static void session(void)
{
	static const char script[] = "read -r pid name state parent group session rest </proc/$$/stat; echo $session";
	char expected[32];
	pid_t pid;
	const char *text = output(script, (struct cgf_spawn_options){ .flags = CGF_SPAWN_SESSION }, NULL, &pid);

	snprintf(expected, sizeof(expected), "%d\n", (int)pid);
	CHECK(!strcmp(text, expected));
	if (t_is("embedded"))
		return;
	snprintf(expected, sizeof(expected), "%d\n", (int)getsid(0));
	check_output(expected, script, (struct cgf_spawn_options){ 0 });
}

/* Not by way of a shell: some unblock everything. */
static void check_blocked(unsigned long long expected, struct cgf_spawn_options options)
{
	char *argv[] = { "grep", "SigBlk", "/proc/self/status", NULL };
	const char *text = run(argv, options, NULL, NULL);

	if (strtoull(strchr(text, ':') + 1, NULL, 16) != expected)
		t_fail(__FILE__, __LINE__, "not %llx but %s", expected, text);
}

static void signals(void)
{
	static const char ignored[] = "grep SigIgn /proc/self/status | grep -c '[13579bdf]...$'; :";
	uint64_t mask = 1 << (SIGUSR1 - 1) | 1 << (SIGTERM - 1), all = UINT64_MAX;
	sigset_t blocked, before;

	check_blocked(mask, (struct cgf_spawn_options){ .signal_mask = &mask });
	/* SIGKILL and SIGSTOP cannot be blocked. */
	check_blocked(0xfffffffffffbfeff, (struct cgf_spawn_options){ .signal_mask = &all });
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	sigprocmask(SIG_SETMASK, &blocked, &before);
	check_blocked(0x800, (struct cgf_spawn_options){ 0 });
	sigprocmask(SIG_SETMASK, &before, NULL);

	/* Bit 12 is SIGPIPE's. */
	signal(SIGPIPE, SIG_IGN);
	check_output("1\n", ignored, (struct cgf_spawn_options){ 0 });
	check_output("0\n", ignored, (struct cgf_spawn_options){ .flags = CGF_SPAWN_RESTORE_SIGNALS });
	signal(SIGPIPE, SIG_DFL);
}

static void pidfd(void)
{
	int fd = -1;
	struct cgf_spawn_options options = { .size = sizeof(options), .pidfd = &fd };
	char *argv[] = { "sh", "-c", "exit 3", NULL };
	siginfo_t info = { 0 };
	pid_t pid;

	OK(cgf_spawn_with(group, "sh", argv, NULL, &options, &pid, &err));
	CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(!waitid((idtype_t)3 /* P_PIDFD */, (id_t)fd, &info, WEXITED));
	CHECK(info.si_pid == pid && info.si_status == 3);
	close(fd);
	fd = -1;
	FAILS(ENOENT, cgf_spawn_with(group, "/no/such/program", argv, NULL, &options, &pid, &err));
	CHECK(fd == -1);
}

/* A caller from the future, and one with a wrong size. */
static void sizes(void)
{
	struct {
		struct cgf_spawn_options known;
		uint64_t more[4];
	} later = { .known = { .size = sizeof(later) } };
	char *argv[] = { "true", NULL };
	pid_t pid = 7;

	later.more[3] = 1;
	FAILS(E2BIG, cgf_spawn_with(group, "true", argv, NULL, &later.known, &pid, &err));
	later.known.size = 1 << 20;
	FAILS(E2BIG, cgf_spawn_with(group, "true", argv, NULL, &later.known, &pid, &err));
	/* Less than the first version, which ended with the pidfd. */
	later.known.size = offsetof(struct cgf_spawn_options, pidfd);
	FAILS(EINVAL, cgf_spawn_with(group, "true", argv, NULL, &later.known, &pid, &err));
	later.known.size = 0;
	FAILS(EINVAL, cgf_spawn_with(group, "true", argv, NULL, &later.known, &pid, &err));
	CHECK(pid == 7);
	later.more[3] = 0;
	later.known.size = sizeof(later);
	OK(cgf_spawn_with(group, "true", argv, NULL, &later.known, &pid, &err));
	CHECK(t_wait(pid) == 0);
}

int main(int argc, char *argv[])
{
	(void)argc;
	T_BEGIN();
	group = t_group("g");
	environment();
	descriptors();
	directory();
	session();
	signals();
	pidfd();
	sizes();
	t_remove(group);
	return T_END();
}
