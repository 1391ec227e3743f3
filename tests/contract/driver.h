/* What the files of the C surface's driver share. */
#ifndef DRIVER_H
#define DRIVER_H

#include <cgf.h>
#include <stdbool.h>

enum { MOST = 64, ROOM = 1 << 20 };

extern struct cgf_hierarchy *hierarchy;
/* The line that is to be answered; a NULL ends it. */
extern char *words[MOST];
extern int count;
extern char answer[ROOM];

/* Steps about a group's counters. */
int with_counters(struct cgf_group *group, struct cgf_error **err);

/* Steps about the hierarchy's resources. */
bool is_about_resources(const char *verb);
int with_resources(struct cgf_error **err);

#endif
