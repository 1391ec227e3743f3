/*
 * pidfd_send_signal(2) for programs under valgrind, which refuses every system call that it
 * does not know. Loaded before the C library, it has the one function by which libcgf makes
 * that call, and makes kill(2) of it: the same but for a process that ends, and whose number
 * is given to another, between two lines of this. Nothing else is changed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>

static int pid_of(int pidfd)
{
	char name[64], line[128];
	int pid = 0;
	FILE *info;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", pidfd);
	info = fopen(name, "r");
	if (!info)
		return 0;
	while (fgets(line, sizeof(line), info) && sscanf(line, "Pid: %d", &pid) != 1)
		;
	fclose(info);
	return pid;
}

static long send_signal(int pidfd, int signal)
{
	int pid = pid_of(pidfd);

	if (pid > 0)
		return kill(pid, signal);
	/* -1: it was reaped. 0: no pidfd, or of another pid namespace. */
	errno = pid < 0 ? ESRCH : EBADF;
	return -1;
}

long syscall(long number, ...)
{
	long (*next)(long, ...);
	long with[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		with[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_pidfd_send_signal)
		return send_signal((int)with[0], (int)with[1]);
	/* The way that dlsym(3) gives for a pointer to a function. */
	*(void **)&next = dlsym(RTLD_NEXT, "syscall");
	return next(number, with[0], with[1], with[2], with[3], with[4], with[5]);
}
