/* R10.1, R10.2: groups bound to namespaces; entering some of them; spawning into them. */
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "t.h"

static struct cgf_group *group;

static ino_t inode(const char *whose, const char *kind)
{
	struct stat found;
	char path[100];

	snprintf(path, sizeof(path), "/proc/%s/ns/%s", whose, kind);
	CHECK(!stat(path, &found));
	return found.st_ino;
}

static ino_t inode_of(pid_t pid, const char *kind)
{
	char number[20];

	snprintf(number, sizeof(number), "%d", (int)pid);
	return inode(number, kind);
}

static pid_t spawn_in(uint64_t kinds)
{
	char *argv[] = { "sleep", "100", NULL };
	struct cgf_spawn_options options = { .size = sizeof(options), .namespaces = kinds };
	pid_t pid = -1;

	OK(cgf_spawn_with(group, argv[0], argv, NULL, &options, &pid, &err));
	CHECK(pid > 1);
	return pid;
}

static void fails_to_spawn(int expected, uint64_t kinds)
{
	char *argv[] = { "sleep", "100", NULL };
	struct cgf_spawn_options options = { .size = sizeof(options), .namespaces = kinds };
	pid_t pid = -1;

	FAILS(expected, cgf_spawn_with(group, argv[0], argv, NULL, &options, &pid, &err));
	CHECK(pid == -1);
}

/* An older caller's structure ends before the namespaces, whatever comes after it. */
static void an_older_size(void)
{
	char *argv[] = { "sleep", "100", NULL };
	struct cgf_spawn_options options = { .size = offsetof(struct cgf_spawn_options, namespaces),
					     .namespaces = 1 };
	pid_t pid = -1;

	OK(cgf_spawn_with(group, argv[0], argv, NULL, &options, &pid, &err));
	CHECK(inode_of(pid, "net") == inode("self", "net"));
	OK(cgf_kill(group, SIGKILL, &err));
	t_reap_killed(pid);
}

/* One thread enters; the others stay where they are. */
static void *enter(void *pid)
{
	ino_t wanted = inode_of(*(pid_t *)pid, "net"), uts = inode("thread-self", "uts");

	CHECK(inode("thread-self", "net") != wanted);
	OK(cgf_enter(group, CLONE_NEWNET, &err));
	CHECK(inode("thread-self", "net") == wanted);
	CHECK(inode("thread-self", "uts") == uts);
	/* There already: nothing to do. */
	OK(cgf_enter(group, CLONE_NEWNET, &err));
	OK(cgf_enter(group, CLONE_NEWNET | CLONE_NEWUTS, &err));
	CHECK(inode("thread-self", "uts") == inode_of(*(pid_t *)pid, "uts"));
	/* What is of the whole process stays as it was. */
	FAILS(EINVAL, cgf_enter(group, CLONE_NEWNET | CLONE_NEWNS, &err));
	CHECK(inode("thread-self", "mnt") == inode("self", "mnt"));
	return NULL;
}

static void entering(void)
{
	pid_t first = spawn_in(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWNS), second;
	ino_t own = inode("self", "net");
	pthread_t thread;
	char text[40];

	CHECK(inode_of(first, "net") != own);
	CHECK(inode_of(first, "ipc") == inode("self", "ipc"));
	snprintf(text, sizeof(text), "%lu\n", (unsigned long)inode_of(first, "net"));
	t_reads(group, "ns.net", text);
	second = spawn_in(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWNS);
	CHECK(inode_of(second, "net") == inode_of(first, "net"));
	CHECK(!pthread_create(&thread, NULL, enter, &first));
	CHECK(!pthread_join(thread, NULL));
	CHECK(inode("self", "net") == own);

	FAILS(EPERM, cgf_attach(group, 0, &err));
	fails_to_spawn(EPERM, 0);
	FAILS(EBUSY, cgf_write(group, "ns.types", "net", &err));
	OK(cgf_kill(group, SIGKILL, &err));
	t_reap_killed(first);
	t_reap_killed(second);
}

/* A process of one thread may change all, in a child that opens the hierarchy itself. */
static void mounts(void)
{
	pid_t first = spawn_in(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWNS), child = fork();

	if (!child) {
		struct cgf_hierarchy *h;
		struct cgf_group *own;
		ino_t wanted = inode_of(first, "mnt"), uts = inode("self", "uts");

		FAILS(ECHILD, cgf_enter(group, CLONE_NEWNET, &err));
		h = t_open(",freezer,signal,namespace");
		OK(cgf_group_open(h, "web", &own, &err));
		OK(cgf_enter(own, CLONE_NEWNS, &err));
		CHECK(inode("self", "mnt") == wanted && inode("self", "uts") == uts);
		_exit(0);
	}
	CHECK(t_wait(child) == 0);
	OK(cgf_kill(group, SIGKILL, &err));
	t_reap_killed(first);
}

int main(int argc, char **argv)
{
	struct cgf_group *removed;

	(void)argc;
	t_begin(argv[0], ",freezer,signal,namespace");
	group = t_group("web");
	FAILS(EINVAL, cgf_enter(NULL, CLONE_NEWNET, &err));
	FAILS(EINVAL, cgf_enter(group, CLONE_NEWNET, &err));
	an_older_size();
	OK(cgf_write(group, "ns.types", "mnt,net,pid,time,uts", &err));
	FAILS(ESRCH, cgf_enter(group, CLONE_NEWNET, &err));
	FAILS(EINVAL, cgf_enter(group, 0, &err));
	FAILS(EINVAL, cgf_enter(group, CLONE_NEWIPC, &err));
	FAILS(EINVAL, cgf_enter(group, CLONE_NEWNET | 1, &err));
	FAILS(EINVAL, cgf_enter(group, 1ULL << 63, &err));
	fails_to_spawn(EINVAL, CLONE_NEWIPC);
	fails_to_spawn(EINVAL, CLONE_NEWPID);
	fails_to_spawn(EINVAL, 0x80);
	fails_to_spawn(EINVAL, CLONE_NEWNET | 1);
	CHECK(cgf_enter(group, 0, NULL) == -EINVAL);
	entering();
	mounts();

	OK(cgf_group_open(t_h, "web", &removed, &err));
	t_remove(group);
	group = removed;
	FAILS(ENODEV, cgf_enter(group, CLONE_NEWNET, &err));
	fails_to_spawn(ENODEV, CLONE_NEWNET);
	cgf_group_free(group);
	return T_END();
}
