/* The error object: given on failure only, whole, and the caller's. */
#include "t.h"

int main(int argc, char *argv[])
{
	struct cgf_error *first = NULL, *second = NULL, *const untouched = (void *)&first;
	struct cgf_group *group = NULL;
	struct cgf_blocker blocker;

	(void)argc;
	T_BEGIN();
	CHECK(cgf_group_open(t_h, "no\"such\xff", &group, &first) == -ENOENT);
	CHECK(!group);
	CHECK(cgf_group_open(t_h, "..", &group, &second) == -EINVAL);
	/* One does not change the other, and each lives until it is freed. */
	CHECK(cgf_error_errno(first) == ENOENT && cgf_error_errno(second) == EINVAL);
	CHECK(strstr(cgf_error_message(first), "such") && strstr(cgf_error_message(first), t_name));
	CHECK(cgf_error_message(first) == cgf_error_message(first));
	CHECK(strcmp(cgf_error_message(first), cgf_error_message(second)));
	memset(&blocker, 0x55, sizeof(blocker));
	CHECK(cgf_error_blockers(first, &blocker, sizeof(blocker), 1) == 0);
	CHECK(blocker.pid == 0x55555555);
	cgf_error_free(first);
	CHECK(*cgf_error_message(second));
	cgf_error_free(second);

	first = untouched;
	CHECK(cgf_group_open(t_h, "/", &group, &first) == 0);
	CHECK(first == untouched);
	cgf_group_free(group);

	CHECK(cgf_error_errno(NULL) == 0);
	CHECK(!*cgf_error_message(NULL));
	CHECK(cgf_error_blockers(NULL, &blocker, sizeof(blocker), 1) == 0);
	return T_END();
}
