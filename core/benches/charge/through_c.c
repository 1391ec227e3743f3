/* The library as a C program calls it. */
#include <cgf.h>
#include <errno.h>
#include <string.h>

#include "yardsticks.h"

static struct cgf_group *open_group(const char *hierarchy, const char *options, const char *path)
{
	struct cgf_hierarchy *opened = NULL;
	struct cgf_group *group = NULL;
	struct cgf_error *error = NULL;

	if (cgf_hierarchy_open(hierarchy, options, &opened, &error) || cgf_group_open(opened, path, &group, &error))
		errx(1, "%s", cgf_error_message(error));
	cgf_hierarchy_free(opened);
	return group;
}

void charge_through_c(const char *hierarchy, const char *options, const char *path, int pairs)
{
	static struct cgf_group *group;

	if (!group)
		group = open_group(hierarchy, options, path);
	while (pairs--) {
		int failed = cgf_charge(group, CGF_KMEMSIZE, 1, CGF_LIMIT);

		if (failed || (failed = cgf_uncharge(group, CGF_KMEMSIZE, 1)))
			errx(1, "a charge through C: %s", strerror(-failed));
	}
}
