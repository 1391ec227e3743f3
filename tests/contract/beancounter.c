/* The steps of the contract table that are about what groups hold. */
#define _GNU_SOURCE
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

/* A resource by its number, or by its name. */
static int find_resource(const char *word, uint32_t *number, struct cgf_error **err)
{
	char *end;
	*number = (uint32_t)strtoul(word, &end, 10);
	return *end ? cgf_resource_register(hierarchy, word, NULL, NULL, number, err) : 0;
}

static int severity(const char *word)
{
	return !word || strcmp(word, "limit") == 0 ? CGF_LIMIT : strcmp(word, "barrier") == 0 ? CGF_BARRIER : CGF_FORCE;
}

static uint64_t bound(const char *word)
{
	return strcmp(word, "max") == 0 ? CGF_NO_LIMIT : strtoull(word, NULL, 10);
}

/* "numfiles=3", from this word on. */
static int find_amounts(int first, struct cgf_amount *amounts, struct cgf_error **err)
{
	for (int i = first; i < count; i++) {
		uint32_t number;
		char *figure = strchr(words[i], '=');
		*figure++ = '\0';
		int result = find_resource(words[i], &number, err);
		if (result < 0)
			return result;
		amounts[i - first] = (struct cgf_amount){ number, strtoull(figure, NULL, 10) };
	}
	return count - first;
}

static int snapshot(struct cgf_group *group, const char *name, struct cgf_error **err)
{
	struct cgf_beancounter counters[MOST];
	char barrier[24], limit[24];
	uint64_t underflow;
	ssize_t total = cgf_snapshot(group, counters, sizeof counters[0], MOST, &underflow, err);
	if (total >= 0 && !name)
		sprintf(answer, "%" PRIu64, underflow);
	for (ssize_t i = 0; name && i < total; i++) {
		struct cgf_beancounter *found = &counters[i];
		if (strcmp(found->name, name) != 0)
			continue;
		assert(found->size == sizeof *found && found->resource == (unsigned long)i);
		sprintf(barrier, "%" PRIu64, found->barrier);
		sprintf(limit, "%" PRIu64, found->limit);
		sprintf(answer, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %s %s %" PRIu64, found->held, found->maxheld,
			found->minheld, found->barrier == CGF_NO_LIMIT ? "max" : barrier,
			found->limit == CGF_NO_LIMIT ? "max" : limit, found->failcnt);
	}
	return total < 0 ? (int)total : 0;
}

/* What callbacks were told. */
static char calls[4096];

struct told {
	char *name;
	char *group;
	char *frees;
};

static void note(const char *what, struct cgf_group *group, const struct told *told, uint64_t figure)
{
	char path[256];
	cgf_group_path(group, path, sizeof path, NULL);
	sprintf(calls + strlen(calls), "%s%s:%s:%s:%" PRIu64, *calls ? " " : "", what, path, told->name, figure);
}

static void barrier_hit(void *state, struct cgf_group *group, uint32_t resource, uint64_t amount)
{
	(void)resource;
	note("barrier", group, state, amount);
}

static int limit_hit(void *state, struct cgf_group *group, uint32_t resource, uint64_t amount)
{
	struct told *told = state;
	struct cgf_group *holder;
	note("limit", group, told, amount);
	if (!isdigit(*told->frees))
		return 1;
	if (strcmp(told->frees, "0") == 0)
		return 0;
	int result = cgf_group_open(hierarchy, told->group, &holder, NULL);
	if (result == 0)
		result = cgf_uncharge(holder, resource, strtoull(told->frees, NULL, 10));
	cgf_group_free(holder);
	return result == 0;
}

static void free_told(void *state)
{
	struct told *told = state;
	free(told->name);
	free(told->group);
	free(told->frees);
	free(told);
}

static int call_back(bool at_limit, struct cgf_error **err)
{
	struct told *told = malloc(sizeof *told);
	struct cgf_resource_callbacks callbacks = {
		.size = sizeof callbacks,
		.state = told,
		.free = free_told,
		.barrier_hit = at_limit ? NULL : barrier_hit,
		.limit_hit = at_limit ? limit_hit : NULL,
	};
	*told = (struct told){ strdup(words[1]), strdup(at_limit ? words[2] : ""), strdup(at_limit ? words[3] : "") };
	int result = cgf_resource_register(hierarchy, words[1], NULL, &callbacks, NULL, err);
	if (result < 0)
		free_told(told);
	return result;
}

/* The resources that there are, with their units: a unit that is not theirs is refused. */
static int list_resources(struct cgf_error **err)
{
	static const char *const units[] = { "bytes", "pages", "count", "boxes" };
	struct cgf_beancounter counters[MOST];
	struct cgf_group *root;
	int result = cgf_group_open(hierarchy, "/", &root, err);
	if (result < 0)
		return result;
	ssize_t total = cgf_snapshot(root, counters, sizeof counters[0], MOST, NULL, err);
	cgf_group_free(root);
	for (ssize_t i = 0; i < total; i++)
		for (size_t unit = 0; unit < sizeof units / sizeof units[0]; unit++)
			if (cgf_resource_register(hierarchy, counters[i].name, units[unit], NULL, NULL, NULL) == 0)
				sprintf(answer + strlen(answer), "%s%s:%s", i ? " " : "", counters[i].name, units[unit]);
	return total < 0 ? (int)total : 0;
}

/* What these return has no error object. */
static int alone(int result)
{
	if (result < 0)
		strcpy(answer, strerror(-result));
	return result;
}

int with_counters(struct cgf_group *group, struct cgf_error **err)
{
	const char *verb = words[0];
	struct cgf_amount amounts[MOST];
	uint32_t resource;
	int result;
	if (strcmp(verb, "underflow") == 0)
		return snapshot(group, NULL, err);
	if (strcmp(verb, "snapshot") == 0)
		return snapshot(group, words[2], err);
	if (strcmp(verb, "charge_many") == 0 || strcmp(verb, "charge_kept") == 0) {
		result = find_amounts(3, amounts, err);
		if (result < 0)
			return result;
		return strcmp(verb, "charge_many") == 0 ?
			       cgf_charge_many(group, amounts, (size_t)result, severity(words[2]), err) :
			       cgf_charge_kept(group, amounts, (size_t)result, severity(words[2]), err);
	}
	if (strcmp(verb, "uncharge_many") == 0) {
		result = find_amounts(2, amounts, err);
		return result < 0 ? result : cgf_uncharge_many(group, amounts, (size_t)result, err);
	}
	result = find_resource(words[2], &resource, err);
	if (result < 0)
		return result;
	if (strcmp(verb, "charge") == 0)
		return alone(cgf_charge(group, resource, strtoull(words[3], NULL, 10), severity(words[4])));
	if (strcmp(verb, "uncharge") == 0)
		return alone(cgf_uncharge(group, resource, strtoull(words[3], NULL, 10)));
	if (strcmp(verb, "set_limits") == 0)
		return cgf_set_limits(group, resource, bound(words[3]), bound(words[4]), err);
	if (strcmp(verb, "charge_up_to") == 0) {
		int64_t granted = cgf_charge_up_to(group, resource, strtoull(words[3], NULL, 10), severity(words[4]), err);
		sprintf(answer, "%" PRId64, granted);
		return granted < 0 ? (int)granted : 0;
	}
	fprintf(stderr, "no verb %s\n", verb);
	abort();
}

bool is_about_resources(const char *verb)
{
	static const char *const verbs[] = { "register", "resources", "on_barrier", "on_limit", "calls" };
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (strcmp(verb, verbs[i]) == 0)
			return true;
	return false;
}

int with_resources(struct cgf_error **err)
{
	const char *verb = words[0];
	if (strcmp(verb, "register") == 0) {
		uint32_t number;
		int result = cgf_resource_register(hierarchy, words[1], words[2], NULL, &number, err);
		if (result == 0)
			sprintf(answer, "%" PRIu32, number);
		return result;
	}
	if (strcmp(verb, "resources") == 0)
		return list_resources(err);
	if (strcmp(verb, "calls") == 0) {
		strcpy(answer, calls);
		calls[0] = '\0';
		return 0;
	}
	return call_back(strcmp(verb, "on_limit") == 0, err);
}
