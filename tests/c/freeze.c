/* R3.2, R3.5, R3.6: the caller inside, parents and children, and what stays stopped. */
#include "t.h"

static struct cgf_group *enter(struct cgf_hierarchy **own)
{
	struct cgf_group *group;

	*own = t_open("");
	OK(cgf_group_open(*own, "outer/inner", &group, &err));
	OK(cgf_attach(group, 0, &err));
	return group;
}

/* R3.5: freezing oneself is refused before anything is frozen. */
static void refused(void)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (!child) {
		struct cgf_hierarchy *own;
		struct cgf_group *group = enter(&own);

		FAILS(EDEADLK, cgf_freeze(group, 1000, 0, &err));
		CHECK(OK(cgf_state(group, &err)) == CGF_THAWED);
		_exit(0);
	}
	t_wait_part(child);
}

/* Unless it is asked for: then the call returns when somebody has thawed. */
static void with_caller(struct cgf_group *inner)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (!child) {
		struct cgf_hierarchy *own;
		struct cgf_group *group = enter(&own);

		OK(cgf_freeze(group, 20000, CGF_FREEZE_WITH_CALLER, &err));
		_exit(0);
	}
	t_await_state(inner, CGF_FROZEN);
	CHECK(waitpid(child, &status, WNOHANG) == 0);
	OK(cgf_thaw(inner, &err));
	t_wait_part(child);
}

/* R3.6: held by the parent, whatever the child is told. */
static void nested(struct cgf_group *outer, struct cgf_group *inner)
{
	pid_t sleeper = t_sleeper(inner);

	OK(cgf_freeze(outer, 5000, 0, &err));
	CHECK(OK(cgf_state(inner, &err)) == CGF_FROZEN);
	OK(cgf_thaw(inner, &err));
	CHECK(OK(cgf_state(inner, &err)) == CGF_FROZEN);
	OK(cgf_freeze(inner, 5000, 0, &err));
	OK(cgf_thaw(outer, &err));
	CHECK(OK(cgf_state(inner, &err)) == CGF_FROZEN);
	OK(cgf_thaw(inner, &err));
	CHECK(OK(cgf_state(inner, &err)) == CGF_THAWED);
	OK(cgf_kill(outer, SIGKILL, &err));
	t_reap_killed(sleeper);
}

/* R3.4: what was stopped before is stopped after. */
static void stopped(struct cgf_group *inner)
{
	pid_t sleeper = t_sleeper(inner);
	int status;

	CHECK(!kill(sleeper, SIGSTOP));
	CHECK(waitpid(sleeper, &status, WUNTRACED) == sleeper && WIFSTOPPED(status));
	OK(cgf_freeze(inner, 5000, 0, &err));
	OK(cgf_thaw(inner, &err));
	CHECK(waitpid(sleeper, &status, WCONTINUED | WNOHANG) == 0);
	CHECK(!kill(sleeper, SIGCONT));
	CHECK(waitpid(sleeper, &status, WCONTINUED) == sleeper && WIFCONTINUED(status));
	OK(cgf_kill(inner, SIGKILL, &err));
	t_reap_killed(sleeper);
}

int main(int argc, char *argv[])
{
	struct cgf_group *outer, *inner;

	(void)argc;
	T_BEGIN();
	outer = t_group("outer");
	inner = t_group("outer/inner");
	/* An empty group has nothing that could run. */
	OK(cgf_freeze(inner, 0, 0, &err));
	CHECK(OK(cgf_state(inner, &err)) == CGF_FROZEN);
	OK(cgf_thaw(inner, &err));
	refused();
	with_caller(inner);
	nested(outer, inner);
	stopped(inner);
	cgf_group_free(inner);
	t_remove(outer);
	return T_END();
}
