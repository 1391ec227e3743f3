/* R6.5: all figures at one instant, for callers of this and of other versions. */
#include "bc.h"

static const char *const names[] = { "kmemsize", "privvmpages", "physpages", "numtasks", "numfiles", "widgets" };

int main(int argc, char *argv[])
{
	struct cgf_beancounter counters[8], *widgets = &counters[5];
	struct newer {
		struct cgf_beancounter known;
		uint64_t more;
	} newer[2];
	unsigned char bytes[512];
	struct cgf_group *g;
	uint64_t underflow = 7;
	uint32_t number;
	size_t size;

	(void)argc;
	T_BEGIN_WITH(T_BOUND);
	g = t_group("g");
	CHECK(OK(cgf_snapshot(g, NULL, 0, 0, &underflow, &err)) == 5 && underflow == 0);
	OK(cgf_resource_register(t_h, "widgets", "boxes", NULL, &number, &err));
	CHECK(number == 5);
	OK(cgf_set_limits(g, number, 6, 8, &err));
	CHECK(cgf_charge(g, number, 7, CGF_LIMIT) == 0 && cgf_charge(g, number, 2, CGF_LIMIT) == -ENOMEM);
	CHECK(cgf_uncharge(g, number, 3) == 0);
	CHECK(cgf_uncharge(g, CGF_NUMFILES, 1) == 0);

	memset(counters, 0xff, sizeof(counters));
	CHECK(OK(cgf_snapshot(g, counters, sizeof(counters[0]), 8, &underflow, &err)) == 6);
	CHECK(underflow == 1);
	for (unsigned i = 0; i < 6; i++) {
		CHECK(counters[i].size == sizeof(counters[i]) && counters[i].resource == i);
		CHECK(!strcmp(counters[i].name, names[i]) && *counters[i].unit);
	}
	CHECK(counters[6].size == SIZE_MAX);
	CHECK(!strcmp(widgets->unit, "boxes") && !strcmp(counters[0].unit, "bytes"));
	CHECK(widgets->held == 4 && widgets->maxheld == 7 && widgets->minheld == 0);
	CHECK(widgets->barrier == 6 && widgets->limit == 8 && widgets->failcnt == 1 && widgets->flags == 0);
	CHECK(counters[4].barrier == CGF_NO_LIMIT && counters[4].limit == CGF_NO_LIMIT && counters[4].held == 0);

	/* As much as there is room for, and the whole number. */
	memset(counters, 0xff, sizeof(counters));
	CHECK(OK(cgf_snapshot(g, counters, sizeof(counters[0]), 2, NULL, &err)) == 6);
	CHECK(counters[1].resource == 1 && counters[2].size == SIZE_MAX);

	/* A caller of before: through "held". */
	size = offsetof(struct cgf_beancounter, maxheld);
	memset(bytes, 0xff, sizeof(bytes));
	CHECK(OK(cgf_snapshot(g, (void *)bytes, size, 6, NULL, &err)) == 6);
	memset(counters, 0, sizeof(counters));
	memcpy(widgets, bytes + 5 * size, size);
	CHECK(widgets->size == size && widgets->resource == 5 && widgets->held == 4);
	CHECK(bytes[6 * size] == 0xff);

	/* And one of later: what is not known is zero. */
	memset(newer, 0xff, sizeof(newer));
	CHECK(OK(cgf_snapshot(g, &newer[0].known, sizeof(newer[0]), 1, NULL, &err)) == 6);
	CHECK(newer[0].known.size == sizeof(newer[0].known) && newer[0].more == 0);
	CHECK(newer[1].known.size == SIZE_MAX);

	FAILS(EINVAL, cgf_snapshot(NULL, counters, sizeof(counters[0]), 8, &underflow, &err));
	FAILS(EINVAL, cgf_snapshot(g, NULL, sizeof(counters[0]), 1, &underflow, &err));

	/* By the files: the same. */
	t_reads(g, "bc.widgets.held", "4\n");
	t_reads(g, "bc.widgets.limits", "6 8\n");
	t_reads(g, "bc.underflow", "1\n");
	OK(cgf_write(g, "bc.widgets.maxheld", "0", &err));
	OK(cgf_write(g, "bc.widgets.failcnt", "0", &err));
	OK(cgf_snapshot(g, counters, sizeof(counters[0]), 8, NULL, &err));
	CHECK(widgets->maxheld == 4 && widgets->minheld == 4 && widgets->failcnt == 0);

	CHECK(cgf_uncharge(g, number, 4) == 0);
	t_remove(g);
	return T_END();
}
