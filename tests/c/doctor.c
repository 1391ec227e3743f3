/* Every backend gets its line, and the trials leave nothing. */
#include "t.h"

int main(int argc, char *argv[])
{
	char text[4096], start[16], *line = text;
	static const char *const backends[] = { "cgroup2: ", "cgroup1: ", "embedded: " };
	long length;

	(void)argc;
	T_BEGIN();
	length = OK(cgf_doctor(text, sizeof(text), &err));
	CHECK(length < (long)sizeof(text) && (long)strlen(text) == length);
	for (int i = 0; i < 3; i++) {
		CHECK(line && !strncmp(line, backends[i], strlen(backends[i])));
		line = strchr(line, '\n');
		CHECK(line++);
	}
	CHECK(!*line);
	CHECK(OK(cgf_doctor(start, 8, &err)) > 8);
	CHECK(!memcmp(start, "cgroup2:", 8));
	return T_END();
}
