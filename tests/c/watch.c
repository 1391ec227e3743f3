/* R1.12: what happens to groups is told, on a descriptor that poll(2) waits for. */
#include <pthread.h>
#include <sys/stat.h>

#include "events.h"

static void groups(void)
{
	struct t_stream s = t_watch(t_h, 0), other = t_watch(t_h, CGF_WATCH_LISTING);
	struct cgf_event *event = (void *)&s, *created;
	char path[256], boot_id[64];
	struct timespec before, after;
	const char *name = "before";
	struct cgf_group *group;
	uint64_t value = 7, time;
	struct stat found;
	pid_t sleeper;
	int fd;
	FILE *file;

	/* What is there already is not told. */
	CHECK(!OK(t_next(&s, 0, &event)) && event == (void *)&s);
	t_waits(&s, 200);
	CHECK(OK(cgf_watch_lists_tasks(s.watch, &err)) == 0);

	clock_gettime(CLOCK_BOOTTIME, &before);
	group = t_group("a/b");
	t_comes(&s, CGF_EVENT_CREATED, "/a");
	created = t_await(&s, CGF_EVENT_CREATED, "/a/b");
	clock_gettime(CLOCK_BOOTTIME, &after);

	CHECK(!strcmp(cgf_event_name(created), "created"));
	CHECK(cgf_event_pid(created) == 0 && cgf_event_parent(created) == 0);
	CHECK(cgf_event_status(created) == -ENODATA);
	CHECK(cgf_event_other(created, path, sizeof(path)) == -ENODATA);
	CHECK(cgf_event_figure(created, 0, &name, &value) == -ENODATA && !strcmp(name, "before") && value == 7);
	CHECK(!*cgf_event_message(created));
	time = cgf_event_time(created);
	CHECK(time >= before.tv_sec * 1000000000ull + before.tv_nsec);
	CHECK(time <= after.tv_sec * 1000000000ull + after.tv_nsec);
	fd = (int)OK(cgf_group_fd(group, &err));
	CHECK(!fstat(fd, &found) && cgf_event_group_id(created) == found.st_ino);
	close(fd);
	file = fopen("/proc/sys/kernel/random/boot_id", "re");
	CHECK(file && fgets(boot_id, sizeof(boot_id), file));
	fclose(file);
	boot_id[strcspn(boot_id, "\n")] = 0;
	CHECK(!strcmp(cgf_event_boot_id(created), boot_id));
	/* Cut as the paths of groups are. */
	memset(path, '#', sizeof(path));
	CHECK(cgf_event_group(created, path, 3) == 4 && !memcmp(path, "/a/#", 4));
	CHECK(cgf_event_group(created, NULL, 0) == 4);

	sleeper = t_sleeper(group);
	t_comes(&s, CGF_EVENT_POPULATED, "/a/b");
	OK(cgf_freeze(group, 5000, 0, &err));
	t_comes(&s, CGF_EVENT_FROZEN, "/a/b");
	OK(cgf_thaw(group, &err));
	t_comes(&s, CGF_EVENT_THAWED, "/a/b");
	OK(cgf_kill(group, SIGKILL, &err));
	t_reap_killed(sleeper);
	t_comes(&s, CGF_EVENT_EMPTY, "/a/b");
	t_remove(group);
	t_comes(&s, CGF_EVENT_REMOVED, "/a/b");
	OK(cgf_group_open(t_h, "a", &group, &err));
	t_remove(group);
	t_comes(&s, CGF_EVENT_REMOVED, "/a");
	while (OK(t_next(&s, 200, &event)))
		cgf_event_free(event);
	/* Elsewhere a timer rings for a look. */
	CHECK(!t_is("cgroup2") || !t_readable(&s, 0));

	/* Each watch is told for itself; what is gone again is known by its name only. */
	t_comes(&other, CGF_EVENT_CREATED, "/a");
	t_comes(&other, CGF_EVENT_REMOVED, "/a");
	t_free(&other);
	t_free(&s);

	/* An event needs nobody. */
	CHECK(t_event_is(created, CGF_EVENT_CREATED, "/a/b") && !strcmp(cgf_event_boot_id(created), boot_id));
	cgf_event_free(created);
}

static void processes(uint64_t flags)
{
	/* It was there before: nothing is told of its birth. */
	pid_t pid = t_outside();
	struct t_stream s = t_watch(t_h, flags);
	struct cgf_group *from = t_group("from"), *to = t_group("to");
	int lists = (int)OK(cgf_watch_lists_tasks(s.watch, &err));
	struct cgf_event *event;
	char path[256];

	CHECK(lists || !(flags & CGF_WATCH_LISTING));
	OK(cgf_attach(from, pid, &err));
	event = t_await(&s, CGF_EVENT_ATTACHED, "/from");
	CHECK(cgf_event_pid(event) == pid && cgf_event_other(event, path, sizeof(path)) == -ENODATA);
	cgf_event_free(event);
	OK(cgf_attach(to, pid, &err));
	do {
		event = NULL;
		CHECK(OK(t_next(&s, 10000, &event)) && event);
		if (cgf_event_other(event, path, sizeof(path)) > 0)
			break;
		cgf_event_free(event);
	} while (1);
	/* Whichever end is told first, the other one is with it. */
	CHECK(t_event_is(event, CGF_EVENT_LEFT, "/from") ? !strcmp(path, "/to") :
	      t_event_is(event, CGF_EVENT_ATTACHED, "/to") && !strcmp(path, "/from"));
	CHECK(cgf_event_pid(event) == pid && *cgf_event_boot_id(event));
	cgf_event_free(event);
	t_end_outside(pid);
	event = t_await(&s, CGF_EVENT_EXIT, "/to");
	CHECK(cgf_event_pid(event) == pid);
	CHECK(lists ? cgf_event_status(event) == -ENODATA : WTERMSIG(cgf_event_status(event)) == SIGKILL);
	cgf_event_free(event);
	t_remove(from);
	t_remove(to);
	t_free(&s);
}

static void *look(void *s)
{
	struct cgf_watch *watch = ((struct t_stream *)s)->watch;
	struct cgf_event *event = NULL;
	int result;

	do
		result = cgf_watch_next(watch, 10000, &event, NULL);
	while (result == -EBUSY);
	CHECK(result == 1);
	return event;
}

/* Nobody waits for another one's wait. */
static void one_at_a_time(void)
{
	struct t_stream s = t_watch(t_h, 0);
	struct cgf_event *event = NULL;
	struct cgf_group *group;
	pthread_t thread;
	pid_t pid;

	CHECK(!pthread_create(&thread, NULL, look, &s));
	/* Until the thread is at it. */
	for (int i = 0; i < 5000 && !cgf_watch_next(s.watch, 0, &event, NULL); i++)
		t_sleep_ms(1);
	FAILS(EBUSY, cgf_watch_next(s.watch, -1, &event, &err));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		FAILS(ECHILD, cgf_watch_next(s.watch, -1, &event, &err));
		cgf_watch_free(s.watch);
		_exit(0);
	}
	t_wait_part(pid);
	CHECK(!event);
	group = t_group("g");
	CHECK(!pthread_join(thread, (void **)&event));
	CHECK(event && t_event_is(event, CGF_EVENT_CREATED, "/g"));
	cgf_event_free(event);
	t_remove(group);
	t_free(&s);
}

static void the_end(void)
{
	struct cgf_hierarchy *h = t_other(",signal");
	struct t_stream s = t_watch(h, 0);
	struct cgf_event *event = NULL;

	OK(cgf_hierarchy_unmount(h, &err));
	cgf_hierarchy_free(h);
	t_comes(&s, CGF_EVENT_REMOVED, "/");
	/* That is told again and again: there is nothing to wait for. */
	CHECK(t_readable(&s, 0));
	FAILS(ENODEV, t_next(&s, -1, &event));
	FAILS(ENODEV, t_next(&s, -1, &event));
	CHECK(!event);
	t_free(&s);
}

int main(int argc, char *argv[])
{
	(void)argc;
	T_BEGIN();
	groups();
	processes(CGF_WATCH_TASKS);
	processes(CGF_WATCH_TASKS | CGF_WATCH_LISTING);
	one_at_a_time();
	the_end();
	return T_END();
}
