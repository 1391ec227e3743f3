/* What the parts of the yardsticks share. */
#ifndef YARDSTICKS_H
#define YARDSTICKS_H

#include <err.h>

/* A call that must not fail. */
static inline int must(int result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

/* through_c.c, which is linked where there is a libcgf: so many times a charge and
 * its return in the group of that path. */
void charge_through_c(const char *hierarchy, const char *options, const char *path, int pairs);

#endif
