/* The library that runs is the one that the header is of. */
#include "t.h"

int main(void)
{
	unsigned number = cgf_version_number();
	char text[32];

	CHECK(!strcmp(cgf_version(), CGF_VERSION));
	CHECK(number == CGF_VERSION_NUMBER);
	snprintf(text, sizeof(text), "%u.%u.%u", number >> 16, number >> 8 & 0xff, number & 0xff);
	CHECK(!strcmp(text, CGF_VERSION));
	return 0;
}
