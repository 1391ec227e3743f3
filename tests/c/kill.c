/* R5.1, R5.2: signals to all, and an end that a freeze does not prevent. */
#include "t.h"

int main(int argc, char *argv[])
{
	struct cgf_group *group, *below;
	pid_t outer, inner;
	int status;

	(void)argc;
	T_BEGIN();
	group = t_group("g");
	below = t_group("g/below");
	FAILS(EINVAL, cgf_kill(group, 65, &err));
	FAILS(EINVAL, cgf_kill(group, -1, &err));
	OK(cgf_kill(group, SIGTERM, &err));

	outer = t_sleeper(group);
	inner = t_sleeper(below);
	OK(cgf_kill(group, 0, &err));
	OK(cgf_kill(group, SIGTERM, &err));
	status = t_wait(outer);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	status = t_wait(inner);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);

	/* Two of a kind that fork on. */
	outer = t_shell(group, "while :; do sleep 0.005 & done");
	inner = t_sleeper(below);
	t_sleep_ms(50);
	OK(cgf_freeze(group, 10000, 0, &err));
	OK(cgf_kill(group, SIGKILL, &err));
	t_reap_killed(outer);
	t_reap_killed(inner);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		; /* The shell's orphans, dead with it. */
	CHECK(OK(cgf_state(group, &err)) == CGF_FROZEN);
	OK(cgf_thaw(group, &err));
	CHECK(OK(cgf_procs(group, NULL, 0, &err)) == 0);

	cgf_group_free(below);
	t_remove(group);
	return T_END();
}
