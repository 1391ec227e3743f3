/* What the tests of watches and monitors share. */
#ifndef EVENTS_H
#define EVENTS_H

#include <poll.h>

#include "t.h"

/* The source of events: one of the two. */
struct t_stream {
	struct cgf_watch *watch;
	struct cgf_monitor *monitor;
	int fd;
};

static T_UNUSED struct t_stream t_watch(struct cgf_hierarchy *h, uint64_t flags)
{
	struct t_stream s = { 0 };

	s.fd = (int)OK(cgf_watch_open(h, flags, &s.watch, &err));
	CHECK(s.watch && fcntl(s.fd, F_GETFD) == FD_CLOEXEC);
	return s;
}

static T_UNUSED struct t_stream t_monitor(struct cgf_hierarchy *h, uint64_t flags)
{
	struct t_stream s = { 0 };

	s.fd = (int)OK(cgf_monitor_open(h, flags, &s.monitor, &err));
	CHECK(s.monitor && fcntl(s.fd, F_GETFD) == FD_CLOEXEC);
	return s;
}

static T_UNUSED void t_free(struct t_stream *s)
{
	cgf_watch_free(s->watch);
	cgf_monitor_free(s->monitor);
	CHECK(fcntl(s->fd, F_GETFD) == -1 && errno == EBADF);
}

static T_UNUSED int t_next(struct t_stream *s, int timeout_ms, struct cgf_event **out)
{
	if (s->watch)
		return cgf_watch_next(s->watch, timeout_ms, out, &err);
	return cgf_monitor_next(s->monitor, timeout_ms, out, &err);
}

static T_UNUSED int t_readable(struct t_stream *s, int timeout_ms)
{
	struct pollfd polled = { .fd = s->fd, .events = POLLIN };

	return poll(&polled, 1, timeout_ms) == 1 && polled.revents == POLLIN;
}

static T_UNUSED int t_event_is(const struct cgf_event *event, int kind, const char *group)
{
	char path[256];

	CHECK(cgf_event_group(event, path, sizeof(path)) == (ssize_t)strlen(path));
	return cgf_event_kind(event) == kind && !strcmp(path, group);
}

/* The next event of this kind about this group, within ten seconds, found by
 * poll(2) alone; others before it are passed over. */
static T_UNUSED struct cgf_event *t_await(struct t_stream *s, int kind, const char *group)
{
	char seen[4096] = "", line[320];
	struct cgf_event *event;
	struct timespec now;
	time_t end;

	clock_gettime(CLOCK_MONOTONIC, &now);
	for (end = now.tv_sec + 10; now.tv_sec < end; clock_gettime(CLOCK_MONOTONIC, &now)) {
		event = NULL;
		if (t_readable(s, 1000) && OK(t_next(s, 0, &event))) {
			if (t_event_is(event, kind, group))
				return event;
			snprintf(line, sizeof(line), "\n  %s %d", cgf_event_name(event), (int)cgf_event_pid(event));
			strncat(seen, line, sizeof(seen) - strlen(seen) - 1);
			cgf_event_free(event);
		}
		CHECK(!event || *seen);
	}
	t_fail(__FILE__, __LINE__, "no event %d of %s, but:%s", kind, group, seen);
}

/* The same where nothing more of it is of interest. */
static T_UNUSED void t_comes(struct t_stream *s, int kind, const char *group)
{
	cgf_event_free(t_await(s, kind, group));
}

/* Nothing at all happens, and the wait for it lasts as long as it was asked for. */
static T_UNUSED void t_waits(struct t_stream *s, int timeout_ms)
{
	struct cgf_event *event = NULL;
	struct timespec before, after;

	clock_gettime(CLOCK_MONOTONIC, &before);
	CHECK(OK(t_next(s, timeout_ms, &event)) == 0 && !event);
	clock_gettime(CLOCK_MONOTONIC, &after);
	CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= timeout_ms - 1);
}

/* No event of this kind for a while. */
static T_UNUSED void t_does_not_come(struct t_stream *s, int kind, int ms)
{
	struct cgf_event *event = NULL;

	for (int i = 0; i < ms / 10; i++)
		while (OK(t_next(s, 10, &event))) {
			CHECK(cgf_event_kind(event) != kind);
			cgf_event_free(event);
		}
}

#endif
