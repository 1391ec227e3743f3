/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libcgf: freeze, guard, move, count and end groups of Linux processes.
 *
 * Generated from the library's source; changes belong there.
 *
 * What holds for every function:
 *
 * Results     A number that is negative for a failure: -errno. What a function
 *             can return is said with it; system calls may fail in ways that
 *             are not listed, such as -ENOMEM, -EMFILE or -EIO. Where the last
 *             argument is "err", it may be NULL; else it receives, on failure
 *             only, an error object that says more, to be freed with
 *             cgf_error_free. Other out-parameters are written on success only.
 * Pointers    NULL gives -EINVAL where nothing else is said. Strings end in
 *             NUL; names and paths are bytes, in no particular encoding.
 *             Nothing that was passed in is kept after the call, but for the
 *             state and the functions of cgf_subsystem_register and
 *             cgf_resource_register.
 * Ownership   A handle belongs to whoever received it and is freed once, by the
 *             function that is named with it. A group's handle keeps what it
 *             needs of its hierarchy's alive: the order of freeing is free.
 *             Every descriptor of the library is O_CLOEXEC.
 * Threads     A handle may be used by several threads at once. It must not be
 *             freed while another thread uses it, nor in a callback that is
 *             called through it.
 * fork        With a handle made before a fork, the child may only free it:
 *             everything else gives -ECHILD there unless the function says that
 *             it works. A program that is executed has no handles; what its
 *             process has charged (cgf_charge), it still holds. An error
 *             object and an event work in the child as in the parent, and
 *             subsystems are registered there as here.
 * Waits       Nothing waits without limit unless a negative timeout asks for
 *             it. Where a function has no timeout of its own, the hierarchy's
 *             deadline= bounds it.
 * Process     The library sets up nothing: no signal handler, no thread, no
 *             logger, no atexit function. The counters of a hierarchy that this
 *             process has charged stay mapped, with a few descriptors, after the
 *             last handle is freed: it may still hold something. A defect inside it becomes
 *             -ENOTRECOVERABLE (and a line on standard error), not an abort.
 * Versions    Names are added, never changed, under the same SONAME. Structures
 *             begin with their size and grow at the end. Unknown flags give
 *             -EINVAL.
 *
 * R1.2 and the like name the requirement that a sentence comes from.
 */


#ifndef CGF_H
#define CGF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** The version of this header; cgf_version has the library's. */
#define CGF_VERSION "0.1.0"
/** The same for comparing; cgf_version_number has the library's. */
#define CGF_VERSION_NUMBER 0x000100

/**
 * It blocks, as the kernel said: alone in a group of its own, it did not stop.
 */
#define CGF_EVIDENCE_PROVED 1

/**
 * It blocks, and only its own state says so.
 */
#define CGF_EVIDENCE_STATE 2

/**
 * It is not in the group, nor below.
 */
#define CGF_EVIDENCE_OUTSIDE 3

/**
 * Its run counter moved: it was given a CPU.
 */
#define CGF_EVIDENCE_RAN 4

/**
 * It could run: the group was thawed, or somebody came into it who ran.
 */
#define CGF_EVIDENCE_THAWED 5

/**
 * It has left the group, or ended.
 */
#define CGF_EVIDENCE_LEFT 6

/**
 * It has come into the group.
 */
#define CGF_EVIDENCE_CAME 7

/**
 * cgf_group_remove: kill the processes inside first.
 */
#define CGF_REMOVE_KILL 1

/**
 * cgf_group_remove: remove the groups below too, children first.
 */
#define CGF_REMOVE_RECURSIVE 2

/**
 * cgf_attach_with, cgf_attach_pidfd: also into a FROZEN group, where the
 * newcomer freezes.
 */
#define CGF_ATTACH_FROZEN 1

/**
 * cgf_spawn_with: begin a session (setsid(2)). The embedded backend always does.
 */
#define CGF_SPAWN_SESSION 1

/**
 * cgf_spawn_with: close in the child every descriptor above 2 that "fds" does
 * not give it.
 */
#define CGF_SPAWN_CLOSE_FDS 2

/**
 * cgf_spawn_with: give SIGPIPE and SIGXFSZ their default action back if they
 * are ignored.
 */
#define CGF_SPAWN_RESTORE_SIGNALS 4

/**
 * cgf_state: the group's tasks run.
 */
#define CGF_THAWED 0

/**
 * cgf_state: they were asked to stop, and at least one has not.
 */
#define CGF_FREEZING 1

/**
 * cgf_state: none of them runs.
 */
#define CGF_FROZEN 2

/**
 * cgf_state: a checkpoint holds the group (cgf_checkpoint_begin): frozen, unless
 * its tool thaws it.
 */
#define CGF_CHECKPOINTING 3

/**
 * cgf_freeze, cgf_hold: after a failure give the group back the state that it
 * had before.
 */
#define CGF_FREEZE_ROLLBACK 1

/**
 * cgf_freeze, cgf_hold: allow a group that the caller is in. The caller stops
 * with the others; the call returns when somebody else has thawed the group.
 */
#define CGF_FREEZE_WITH_CALLER 2

/**
 * cgf_checkpoint_begin_with: for a tool that must thaw the group to do its work,
 * as CRIU does once it has seized the tasks (R4.5). Nothing is proved: that is
 * left to the tool. This process may freeze and thaw the group, and act upon it;
 * others may not. The end freezes it again.
 */
#define CGF_CHECKPOINT_EXTERNAL 1

/**
 * cgf_checkpoint_begin_with: on cgroup v2 too, count how often each thread is
 * woken, for cgf_checkpoint_woken. Elsewhere it is counted anyway.
 */
#define CGF_CHECKPOINT_WAKEUPS 2

/**
 * Kernel memory, in bytes.
 */
#define CGF_KMEMSIZE 0

/**
 * Private virtual memory, in pages.
 */
#define CGF_PRIVVMPAGES 1

/**
 * Resident memory, in pages.
 */
#define CGF_PHYSPAGES 2

/**
 * Tasks.
 */
#define CGF_NUMTASKS 3

/**
 * Open files.
 */
#define CGF_NUMFILES 4

/**
 * A charge is refused if it would pass the barrier.
 */
#define CGF_BARRIER 0

/**
 * A charge is refused if it would pass the limit.
 */
#define CGF_LIMIT 1

/**
 * A charge is never refused.
 */
#define CGF_FORCE 2

/**
 * No barrier, no limit: what the files call "max".
 */
#define CGF_NO_LIMIT 9223372036854775807

/**
 * struct cgf_beancounter: the limit binds every program, by the kernel, and "held" is
 * the kernel's figure. Else those are bound who charge by this library.
 */
#define CGF_BEANCOUNTER_BY_KERNEL 1

/**
 * struct cgf_control_file: only the root group has the file.
 */
#define CGF_FILE_ROOT 1

/**
 * cgf_event_kind: one that this header does not know; cgf_event_name has its
 * name.
 */
#define CGF_EVENT_OTHER 0

/**
 * A group was made, or was given this name.
 */
#define CGF_EVENT_CREATED 1

/**
 * A group was removed, or was given another name. The removal of the root group
 * ends the stream.
 */
#define CGF_EVENT_REMOVED 2

/**
 * A process was born in the group: cgf_event_pid, by cgf_event_parent.
 */
#define CGF_EVENT_FORK 3

/**
 * A process of the group ended: cgf_event_pid, and cgf_event_status where the
 * kernel told.
 */
#define CGF_EVENT_EXIT 4

/**
 * A process came into the group that was alive already, from cgf_event_other if
 * that is in the hierarchy too.
 */
#define CGF_EVENT_ATTACHED 5

/**
 * A process left the group alive, to cgf_event_other if that is in the hierarchy
 * too; else another hierarchy on the same kernel tree has it now, or no group at
 * all (R1.2).
 */
#define CGF_EVENT_LEFT 6

/**
 * The last task has left, and there is no group below (R1.11).
 */
#define CGF_EVENT_EMPTY 7

/**
 * A task has come to the group, or to one below, where none was.
 */
#define CGF_EVENT_POPULATED 8

/**
 * Every task of the group has stopped.
 */
#define CGF_EVENT_FROZEN 9

/**
 * The group runs again.
 */
#define CGF_EVENT_THAWED 10

/**
 * The group runs although somebody holds it frozen: another one thawed it.
 */
#define CGF_EVENT_FOREIGN_THAW 11

/**
 * The group was removed because it was empty (auto_delete): cgf_event_figure has
 * what it had counted. From a monitor only.
 */
#define CGF_EVENT_RELEASED 12

/**
 * The release agent was started for the empty group: cgf_event_pid. From a
 * monitor only.
 */
#define CGF_EVENT_NOTIFIED 13

/**
 * A monitor could not do what the group's emptiness called for:
 * cgf_event_message says why. It is not tried again.
 */
#define CGF_EVENT_RELEASE_FAILED 14

/**
 * A resource went over its barrier.
 */
#define CGF_EVENT_BARRIER 15

/**
 * A resource met its limit.
 */
#define CGF_EVENT_LIMIT 16

/**
 * More has happened than was told; cgf_event_message says where it was lost.
 * Events that follow tell in what the hierarchy differs now from what was told
 * before.
 */
#define CGF_EVENT_LOST 17

/**
 * cgf_watch_open, cgf_monitor_open: also who is born, ends, comes and goes. Needs
 * the proc connector, which tells of every fork on the machine; where that cannot
 * be had, groups are listed again and again, and a process that lives for less
 * than the time between two listings is not told of (cgf_watch_lists_tasks). With
 * the connector, too, one that came from outside of the hierarchy has to be there
 * still when cgf_watch_next looks: the kernel does not say to which group somebody
 * belonged who is gone. Its children are told of from then on, however brief.
 */
#define CGF_WATCH_TASKS 1

/**
 * The same: find who is born and ends by listing even where the proc connector
 * could be had, so as not to be woken by every fork of the machine.
 */
#define CGF_WATCH_LISTING 2

/**
 * Somebody coming into a group: what the attach callbacks of a subsystem are
 * told (cgf_subsystem_register). It is good while the callback runs, in any
 * thread; there is nothing to free.
 */
struct cgf_attachment;

/**
 * A group is CHECKPOINTING for as long as this is there and its process lives.
 *
 * If the process ends before cgf_checkpoint_end, also by SIGKILL, the group is
 * FROZEN and can be thawed by anybody (R4.3). A forked child has no share in it,
 * and keeps nobody out.
 */
struct cgf_checkpoint;

/**
 * Why a call failed, for people and for programs. It never changes, belongs to
 * whoever received it, and may be used in any thread and after a fork.
 */
struct cgf_error;

/**
 * One thing that has happened (R1.12), from cgf_watch_next or cgf_monitor_next.
 * It never changes, needs neither the watch nor the hierarchy any more, and may
 * be used in any thread and after a fork.
 *
 * None of its functions takes an "err": what fails is a NULL, or asking for what
 * an event of this kind does not have.
 */
struct cgf_event;

/**
 * A group of processes: a directory of its hierarchy.
 *
 * The handle means this group, and not another that is made later under the
 * same path: after a removal everything gives -ENODEV. It keeps its hierarchy's
 * handle alive.
 */
struct cgf_group;

/**
 * A tree of groups with subsystems bound to it.
 */
struct cgf_hierarchy;

/**
 * A share in keeping a group frozen.
 *
 * Shares are counted across threads and processes. When the last one is given
 * back the group is thawed, unless it was frozen already before the first. A
 * holder that is killed gives its share back; if it was the last, the group
 * stays frozen until the next holder leaves or somebody thaws it. A share does
 * not keep others from thawing the group.
 */
struct cgf_hold;

/**
 * A watch that acts (R1.11): it starts the release agent for a group that has
 * been emptied and notifies, removes one with auto_delete, and calls the fork and
 * exit of the subsystems that are registered here (cgf_subsystem).
 *
 * Any number may run for a hierarchy, in any processes, and be killed at any
 * moment: every emptying is reported once. What was empty before the first one
 * came is reported when it comes. A group that is entered again before its
 * emptiness was reported has not been empty.
 *
 * It acts where cgf_monitor_next is called, and then only. The agent is a child
 * of the caller's, in a session of its own, with the group's path ("/web/1") as
 * its argument, HOME and PATH as its environment, and /dev/null as its input and
 * output. The monitor waits for it when it has ended; one that runs when the
 * monitor is freed is left to the caller.
 */
struct cgf_monitor;

/**
 * A group is held alive for as long as this is there (R1.7).
 *
 * It ends when it is freed, and with the process that took it, also when that
 * is killed: a forked child has no share in it.
 */
struct cgf_reference;

/**
 * The events of a hierarchy, from the moment the watch was made (R1.12).
 *
 * Nothing runs behind it: while nobody calls cgf_watch_next the kernel keeps what
 * happens, and when it has kept too much, that is told as CGF_EVENT_LOST. What
 * came and went between two looks (a group frozen for a moment) may not be told
 * at all. On cgroup v1 and embedded the kernel gives no notice of most things:
 * they are looked for every 10 to 80 ms, or more rarely where a look takes more
 * than a twentieth of that. Memory is bounded by the number of groups and, with
 * CGF_WATCH_TASKS, of processes in them. It keeps what it needs of the
 * hierarchy's handle alive.
 */
struct cgf_watch;

/**
 * A task that an error is about: that kept a group from being frozen, emptied or
 * removed (R3.7), that is outside of a group that is to be checkpointed (R4.2),
 * or that was not still during a checkpoint (R4.4).
 *
 * Later versions may add members at the end; "size" says how far this one is
 * filled in.
 */
struct cgf_blocker {
  /**
   * How many bytes of this structure the library has filled in.
   */
  size_t size;
  /**
   * The process.
   */
  pid_t pid;
  /**
   * The thread; the process's own number for its first thread.
   */
  pid_t tid;
  /**
   * The kernel's letter for what the task does, 'R', 'S', 'D', ...
   * (proc_pid_stat(5)); '?' when it has gone.
   */
  char state;
  /**
   * What is said of it, and how that is known: CGF_EVIDENCE_PROVED, ...
   */
  char evidence;
  /**
   * Zero.
   */
  char reserved[6];
  /**
   * The thread's name, at most 15 bytes and a NUL.
   */
  char command[16];
  /**
   * The kernel function that it waits in, at most 63 bytes and a NUL; empty
   * where it runs, or where we may not look.
   */
  char waits_in[64];
};

/**
 * A descriptor of the caller's, and the number that the child gets it under.
 */
struct cgf_spawn_fd {
  /**
   * The caller's; it stays open, and stays the caller's.
   */
  int from;
  /**
   * The child's: 0, 1, 2 for the standard streams.
   */
  int to;
};

/**
 * How to start a program, for cgf_spawn_with. What is zero is as in cgf_spawn.
 *
 * Later versions may add members at the end, with zero for what was before:
 *
 *     struct cgf_spawn_options options = { .size = sizeof(options) };
 */
struct cgf_spawn_options {
  /**
   * sizeof(struct cgf_spawn_options)
   */
  size_t size;
  /**
   * How many "fds" there are.
   */
  size_t fd_count;
  /**
   * CGF_SPAWN_SESSION, CGF_SPAWN_CLOSE_FDS, CGF_SPAWN_RESTORE_SIGNALS.
   */
  uint64_t flags;
  /**
   * Descriptors for the child. May be NULL if "fd_count" is 0.
   */
  const struct cgf_spawn_fd *fds;
  /**
   * The directory to start in; NULL: the caller's.
   */
  const char *cwd;
  /**
   * The signals blocked in the child: signal n is bit n-1. NULL: those that
   * the calling thread blocks.
   */
  const uint64_t *signal_mask;
  /**
   * Receives a pidfd of the child (pidfd_open(2), O_CLOEXEC), for the caller
   * to close, on success only. NULL: none is wanted.
   */
  int *pidfd;
  /**
   * CLONE_NEWNET and the like: the child is in the group's namespaces of these
   * kinds, or, if nobody is in the group, in new ones that are the group's from
   * then on (cgf_enter). 0: it has the caller's, which have to be the group's as
   * far as that is bound to them. With CLONE_NEWNS a child that joins starts at the
   * root of what the members see: "cwd" and the program, if they are relative, mean
   * what they mean there.
   */
  uint64_t namespaces;
};

/**
 * How to hold a checkpoint, for cgf_checkpoint_begin_with. What is zero is as in
 * cgf_checkpoint_begin.
 *
 * Later versions may add members at the end, with zero for what was before:
 *
 *     struct cgf_checkpoint_options options = { .size = sizeof(options) };
 */
struct cgf_checkpoint_options {
  /**
   * sizeof(struct cgf_checkpoint_options)
   */
  size_t size;
  /**
   * How long the begin may wait for others who act upon the group, in
   * milliseconds: 0 as long as the hierarchy's deadline, a negative number
   * without limit.
   */
  long timeout_ms;
  /**
   * CGF_CHECKPOINT_EXTERNAL, CGF_CHECKPOINT_WAKEUPS.
   */
  uint64_t flags;
};

/**
 * So much of a resource, for cgf_charge_many.
 */
struct cgf_amount {
  /**
   * CGF_NUMFILES and the like, or a number from cgf_resource_register.
   */
  uint64_t resource;
  /**
   * At most 2^48.
   */
  uint64_t amount;
};

/**
 * The figures of one resource in one group, by cgf_snapshot.
 *
 * Later versions may add members at the end; "size" says how far this one is
 * filled in.
 */
struct cgf_beancounter {
  /**
   * How many bytes of this structure the library has filled in.
   */
  size_t size;
  /**
   * Which resource it is: CGF_NUMFILES and the like.
   */
  unsigned long resource;
  /**
   * What is held now, by the group and those below.
   */
  uint64_t held;
  /**
   * The most that was held since the group was made, or since 0 was written to
   * "bc.NAME.maxheld". Exact while at most one process charges at a time, else
   * no less than the truth.
   */
  uint64_t maxheld;
  /**
   * The least, likewise; no more than the truth.
   */
  uint64_t minheld;
  /**
   * Where CGF_BARRIER ends, or CGF_NO_LIMIT.
   */
  uint64_t barrier;
  /**
   * Where CGF_LIMIT ends, or CGF_NO_LIMIT.
   */
  uint64_t limit;
  /**
   * How many charges this group has refused.
   */
  uint64_t failcnt;
  /**
   * CGF_BEANCOUNTER_BY_KERNEL.
   */
  uint64_t flags;
  /**
   * What the resource is called, at most 63 bytes and a NUL.
   */
  char name[64];
  /**
   * What is counted, "bytes" for one, at most 31 bytes and a NUL.
   */
  char unit[32];
};

/**
 * What a program wants to be told of a resource, for cgf_resource_register. Every
 * function may be NULL. Later versions may add functions at the end:
 *
 *     struct cgf_resource_callbacks callbacks = { .size = sizeof(callbacks) };
 *
 * They are called in the thread that charges, in several at once, with no lock of the
 * library held, and may call back into it. The handle that they are given is borrowed:
 * good until they return, and not to be freed. They must return: no exception, longjmp
 * or pthread_exit may leave them.
 */
struct cgf_resource_callbacks {
  /**
   * sizeof(struct cgf_resource_callbacks)
   */
  size_t size;
  /**
   * What every callback gets first.
   */
  void *state;
  /**
   * Called once, when other callbacks have taken their place, or the handle is freed
   * and those of all groups that were opened through it.
   */
  void (*free)(void *state);
  /**
   * A CGF_LIMIT charge of that amount has taken a group over its barrier: once for
   * each time that it is crossed (R6.2).
   */
  void (*barrier_hit)(void *state, struct cgf_group *g, uint32_t resource, uint64_t amount);
  /**
   * A charge is about to be refused, because this group has no room for the amount.
   * Returns 1 if something was freed: then it is tried once more; else 0.
   */
  int (*limit_hit)(void *state, struct cgf_group *g, uint32_t resource, uint64_t amount);
};

/**
 * A control file of a subsystem (cgf_subsystem_register): "max" of the
 * subsystem "members" is read and written as "members.max".
 *
 * Of an array, every element has the same size. Later versions may add members
 * at the end, with zero for what was before.
 */
struct cgf_control_file {
  /**
   * sizeof(struct cgf_control_file)
   */
  size_t size;
  /**
   * What follows the subsystem's name and the dot: at most 64 printable ASCII
   * characters without a slash.
   */
  const char *name;
  /**
   * Puts the file's text, UTF-8, lines that each end in a newline, into "buf",
   * as much as "cap" allows, and returns the whole length in bytes, as
   * snprintf(3) does; or -errno. A NUL is not needed. It is called again with
   * more room if the length is not below "cap". At most 16 MiB (-EFBIG). NULL:
   * the file can only be written (-EACCES).
   */
  ssize_t (*read)(void *state, const struct cgf_group *g, char *buf, size_t cap);
  /**
   * Does what the text says, which comes without the newline at its end and
   * has at most 4096 bytes; returns 0 or -errno. NULL: the file can only be
   * read (-EACCES).
   */
  int (*write)(void *state, struct cgf_group *g, const char *text);
  /**
   * CGF_FILE_ROOT.
   */
  uint64_t flags;
};

/**
 * Something that is bound to hierarchies and called about their groups (R1.6),
 * for cgf_subsystem_register. Every function may be NULL: then it does nothing
 * and agrees. Later versions may add functions at the end:
 *
 *     struct cgf_subsystem members = { .size = sizeof(members), .name = "members" };
 *
 * Callbacks run in the process that does something with a group, as part of it,
 * and in its thread; so what every process must agree on belongs on the group
 * (cgf_attribute_set) and not in "state". Only fork and exit, which the kernel
 * alone sees, come afterwards and from a monitor. No lock of the library is
 * held: a callback may call back into it. It may run in several threads at once,
 * so two attaches that are each allowed may together be one too many: whoever
 * must not let that happen counts for itself in can_attach and takes it back in
 * cancel_attach. Handles that a callback is given are borrowed: good until it
 * returns, and not to be freed. It must return: no exception, longjmp or
 * pthread_exit may leave it.
 *
 * A callback returns 0, or -errno, which becomes the result of the operation. A
 * positive number, or one below -4095, is an error of the callback's own:
 * -EINVAL, with a message that says so.
 *
 * Somebody who comes into a group is announced in these steps (R2.2), each to the
 * subsystems in the order of their names:
 *
 *     can_attach, then can_attach_task for each thread
 *     pre_attach
 *     the move
 *     attach_task for each thread, then attach
 *
 * An error of any of them takes all of it back, and cancel_attach goes to those
 * whose can_attach had agreed, last first.
 */
struct cgf_subsystem {
  /**
   * sizeof(struct cgf_subsystem)
   */
  size_t size;
  /**
   * What it is called in options and before the names of its control files:
   * lower-case letters, digits and '_', a letter first, 32 at most.
   */
  const char *name;
  /**
   * The controllers of control groups that it works by, "pids,cpuset", or
   * NULL: the hierarchy spans the kernel trees that have them, where there are
   * any (cgf_controller_fd).
   */
  const char *controllers;
  /**
   * What every callback gets first.
   */
  void *state;
  /**
   * Called once, when it is not registered any more and the last handle is
   * freed that this process has on a hierarchy bound to it.
   */
  void (*free)(void *state);
  /**
   * Its control files. May be NULL if "nfiles" is 0.
   */
  const struct cgf_control_file *files;
  /**
   * How many "files" there are.
   */
  size_t nfiles;
  /**
   * A group was made. After an error it is gone again.
   */
  int (*create)(void *state, struct cgf_group *g);
  /**
   * A group was removed, or its making failed later: the handle gives -ENODEV,
   * but still tells its path.
   */
  int (*destroy)(void *state, struct cgf_group *g);
  /**
   * A group was made as a copy of its parent (cgf_group_clone). Attributes
   * have been copied; this is for what is kept elsewhere.
   */
  int (*post_clone)(void *state, struct cgf_group *g, struct cgf_group *parent);
  /**
   * A process is to come. An error refuses it. May take its time.
   */
  int (*can_attach)(void *state, const struct cgf_attachment *a);
  /**
   * One of its threads is to come; 0 for that of a program to be started.
   */
  int (*can_attach_task)(void *state, const struct cgf_attachment *a, pid_t tid);
  /**
   * It does not come, though can_attach had agreed. The result is ignored.
   */
  int (*cancel_attach)(void *state, const struct cgf_attachment *a);
  /**
   * All have agreed; the move comes next. An error still refuses it.
   */
  int (*pre_attach)(void *state, const struct cgf_attachment *a);
  /**
   * One of its threads has come. An error takes the whole process back.
   */
  int (*attach_task)(void *state, const struct cgf_attachment *a, pid_t tid);
  /**
   * The process has come. An error takes it back. May take its time.
   */
  int (*attach)(void *state, const struct cgf_attachment *a);
  /**
   * A member made a child, in the same group. From a monitor
   * (cgf_monitor_next, whose error it is that this gives), afterwards: the
   * child may have gone already, and the parent, 0 then if it is not known.
   */
  int (*fork)(void *state, struct cgf_group *g, pid_t parent, pid_t child);
  /**
   * A member ended. From a monitor, as fork.
   */
  int (*exit)(void *state, struct cgf_group *g, pid_t pid);
  /**
   * A hierarchy that it is bound to was opened by this process. An error is
   * the opener's.
   */
  int (*mount)(void *state, struct cgf_hierarchy *h);
  /**
   * A hierarchy that it is bound to was ended by this process: the handle
   * gives -ENODEV.
   */
  int (*unmount)(void *state, struct cgf_hierarchy *h);
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library that runs, "0.1.0"; CGF_VERSION is that of the
 * header. The string is constant.
 */
const char *cgf_version(void);

/**
 * The same as a number, for comparing: 0xMMmmpp, one byte each for major,
 * minor and patch; CGF_VERSION_NUMBER is that of the header.
 */
uint32_t cgf_version_number(void);

/**
 * The errno of the failure, positive: what the call returned, negated. 0 for
 * NULL.
 */
int cgf_error_errno(const struct cgf_error *e);

/**
 * One sentence: what failed, on what, and where it is known, the remedy. UTF-8,
 * owned by the error: good until that is freed. "" for NULL.
 */
const char *cgf_error_message(const struct cgf_error *e);

/**
 * Copies the tasks that the error is about, the first "cap" of them, and returns
 * how many there are: after a freeze, kill or removal that failed with EBUSY
 * (R3.7), a cgf_checkpoint_begin that failed with EXDEV (R4.2), and whatever
 * says -ESTALE of a checkpoint (R4.4); else 0. 0 for NULL.
 *
 * "size" is sizeof(struct cgf_blocker) in the caller's header: of a structure
 * that has grown since only that much is copied, and where the caller's is the
 * larger one, the rest is zero. "buf" may be NULL if "cap" is 0.
 */
size_t cgf_error_blockers(const struct cgf_error *e,
                          struct cgf_blocker *buf,
                          size_t size,
                          size_t cap);

/**
 * Frees an error. NULL is allowed.
 */
void cgf_error_free(struct cgf_error *e);

/**
 * Opens the hierarchy "name", and makes it if there is none. Whoever opens the
 * same name with the same subsystems shares it (R1.1).
 *
 * "options" is a string as mount(8) takes it, "" for the defaults:
 *
 *     freezer, signal, beancounter, ...
 *                                subsystems to bind, registered ones too
 *                                (cgf_subsystem_register); none named: those
 *                                that the hierarchy has, or the first two
 *     backend=auto|cgroup2|cgroup1|embedded
 *                                who carries the groups; auto takes the first
 *                                for which a trial works (cgf_doctor), which
 *                                makes a child process for a moment
 *     root=DIR                   open the groups below an existing directory,
 *                                whoever made it; the name is then a label
 *     state=DIR                  the system that the hierarchy belongs to: in
 *                                it a subsystem is bound to one hierarchy
 *     deadline=MS                bounds remove, kill, spawn, attach and thaw,
 *                                in milliseconds; 10000
 *     stop=signal|ptrace         how the embedded backend stops a task
 *     hold=parent                groups are made with a parent of their own,
 *                                web for web/1, that is frozen with them: who
 *                                thaws one by the kernel's file does nothing
 *     flat                       charges count in the group that is charged,
 *                                and not in those above (cgf_charge)
 *
 * Returns 0, and a handle in "out" to be freed with cgf_hierarchy_free; or
 *
 *     -EINVAL  no name for a hierarchy; an unknown option, an empty or a
 *              repeated token, a value that is none; root= is no cgroup of
 *              the chosen backend, or a group of an embedded hierarchy
 *     -ENOENT  an unknown subsystem, or no directory root=
 *     -EBUSY   it exists with other subsystems, or in another system; or a
 *              subsystem is bound to another hierarchy of the same system
 *     -ENODEV  the chosen backend is not there
 *     -EACCES  not permitted; the message names the directory
 *     others   what the mount of a subsystem gives (cgf_subsystem)
 *
 * A hierarchy that is bound to a subsystem which only another program has
 * registered can be looked at, frozen, killed and removed; what that subsystem
 * has a say in (create, attach, spawn) gives -ENOENT.
 */
int cgf_hierarchy_open(const char *name,
                       const char *options,
                       struct cgf_hierarchy **out,
                       struct cgf_error **err);

/**
 * Opens the hierarchy "name" where it is, with options as cgf_hierarchy_open,
 * and makes nothing.
 *
 *     -ENOENT  there is none of that name, or not on the chosen backend
 *     others as cgf_hierarchy_open
 */
int cgf_hierarchy_open_existing(const char *name,
                                const char *options,
                                struct cgf_hierarchy **out,
                                struct cgf_error **err);

/**
 * Opens the group that a process is in as the root of a hierarchy, whoever made
 * it: a container of runc, crun, LXC or systemd. The first of cgroup v2 and v1
 * where that is not the kernel's own root. "options" as cgf_hierarchy_open.
 *
 * Returns 0, and a handle in "out" to be freed with cgf_hierarchy_free; or
 *
 *     -ESRCH   no such process, or it is in no group but the kernel's root
 *     others as cgf_hierarchy_open
 */
int cgf_hierarchy_of(pid_t pid,
                     const char *options,
                     struct cgf_hierarchy **out,
                     struct cgf_error **err);

/**
 * Which backend carries the hierarchy: "cgroup2", "cgroup1" or "embedded". The
 * string is constant. NULL for NULL. Works in a forked child too.
 */
const char *cgf_hierarchy_backend(const struct cgf_hierarchy *h);

/**
 * Copies the path of the hierarchy's root directory, and returns its whole
 * length in bytes. As much as "cap" allows is copied; a NUL follows if there
 * is room, that is if the length is below "cap". "buf" may be NULL if "cap" is
 * 0. Works in a forked child too.
 *
 *     -EINVAL  NULL
 */
ssize_t cgf_hierarchy_directory(const struct cgf_hierarchy *h,
                                char *buf,
                                size_t cap,
                                struct cgf_error **err);

/**
 * Ends a hierarchy that has no groups but its root. The handle is still to be
 * freed. A directory that was opened with root= stays: it is somebody else's.
 *
 * Returns 0, or
 *
 *     -EBUSY   it has groups, or processes in its root
 *     -ENODEV  it has ended already
 *     -ECHILD  in a forked child
 */
int cgf_hierarchy_unmount(struct cgf_hierarchy *h, struct cgf_error **err);

/**
 * Frees the handle, not the hierarchy: that stays, with all its groups. Groups
 * opened through the handle go on working. NULL is allowed.
 */
void cgf_hierarchy_free(struct cgf_hierarchy *h);

/**
 * Makes a group, and those above it that are missing. "path" is "web/1" or
 * "/web/1".
 *
 * Returns 0, and a handle in "out" to be freed with cgf_group_free; or
 *
 *     -EEXIST        there is one, or "path" is "/"
 *     -EINVAL        no path for a group: empty, an empty component, "." or
 *                    "..", a newline, or a name that control files use (R1.3)
 *     -ENAMETOOLONG  a name of more than 255 bytes, a path of more than 4095
 *     -EACCES        not permitted
 *     -ENODEV        the hierarchy has ended
 *     -ENOENT        the hierarchy is bound to a subsystem that is not
 *                    registered here
 *     -ECHILD        in a forked child
 *     others         what the create of a subsystem gives (cgf_subsystem)
 *
 * After a failure nothing is left of what the call made.
 */
int cgf_group_create(struct cgf_hierarchy *h,
                     const char *path,
                     struct cgf_group **out,
                     struct cgf_error **err);

/**
 * Makes a group below the one that a process is in, with that group's settings,
 * and moves the process into it as its first member (R1.5); 0 is the caller.
 * Settings are the attributes of its subsystems (cgf_attribute_set) and
 * "notify_on_release" and "auto_delete". "name" is one component.
 *
 * Returns 0, and a handle in "out" to be freed with cgf_group_free; or
 *
 *     -ESRCH  no such process; with root=, one outside of that directory
 *     others  as cgf_group_create and cgf_attach, and what the post_clone of a
 *             subsystem gives
 *
 * After a failure the process is where it was, and the group is gone.
 */
int cgf_group_clone(struct cgf_hierarchy *h,
                    pid_t pid,
                    const char *name,
                    struct cgf_group **out,
                    struct cgf_error **err);

/**
 * Opens a group that exists; "/" is the root group.
 *
 * Returns 0, and a handle in "out" to be freed with cgf_group_free; or
 *
 *     -ENOENT  there is none
 *     -ELOOP   a symbolic link is on the way
 *     -EINVAL, -ENAMETOOLONG, -EACCES, -ENODEV, -ECHILD  as cgf_group_create
 */
int cgf_group_open(struct cgf_hierarchy *h,
                   const char *path,
                   struct cgf_group **out,
                   struct cgf_error **err);

/**
 * Opens the group that a process is in; 0 is the caller (R1.10). A process
 * that was never moved is in the root group.
 *
 * Returns 0, and a handle in "out" to be freed with cgf_group_free; or
 *
 *     -ESRCH   no such process; with root=, one outside of that directory
 *     -EINVAL  a negative number
 *     -ECHILD  in a forked child
 */
int cgf_group_of(struct cgf_hierarchy *h,
                 pid_t pid,
                 struct cgf_group **out,
                 struct cgf_error **err);

/**
 * Removes a group, and returns when it is gone or the hierarchy's deadline has
 * passed (R1.4). The handle is still to be freed.
 *
 * "flags": CGF_REMOVE_KILL, CGF_REMOVE_RECURSIVE.
 *
 * Returns 0, or
 *
 *     -EBUSY   it has processes or groups below that the flags do not cover;
 *              or somebody has a reference on it (cgf_reference); or a checkpoint
 *              holds it, one above or one below (R4.1); or not all were gone in
 *              time (cgf_error_blockers); or it is the root group
 *     -EINVAL  unknown flags
 *     -ENODEV  it was removed before
 *     -EACCES  not permitted
 *     -ECHILD  in a forked child
 */
int cgf_group_remove(struct cgf_group *g, uint64_t flags, struct cgf_error **err);

/**
 * Gives a group another name in its parent. "g", like every handle of it and
 * of groups below it, keeps the old path and is only good for freeing; "out"
 * receives a handle for the new one.
 *
 * Returns 0, and a handle in "out" to be freed with cgf_group_free; or
 *
 *     -EOPNOTSUPP    on cgroup v2, whose groups cannot be renamed
 *     -EEXIST        the name is taken
 *     -EINVAL, -ENAMETOOLONG  no name for a group (cgf_group_create)
 *     -EBUSY         the root group; a checkpoint holds it, or one above (R4.1);
 *                    somebody changes shares of tasks and does not get on
 *     -ENODEV        the group was removed
 *     -EACCES        not permitted
 *     -ECHILD        in a forked child
 */
int cgf_group_rename(struct cgf_group *g,
                     const char *name,
                     struct cgf_group **out,
                     struct cgf_error **err);

/**
 * Copies a group's path within its hierarchy, "/web/1", or "/" for the root,
 * and returns its whole length in bytes. As much as "cap" allows is copied; a
 * NUL follows if there is room, that is if the length is below "cap". "buf" may
 * be NULL if "cap" is 0. Works in a forked child too.
 *
 *     -EINVAL  NULL
 */
ssize_t cgf_group_path(const struct cgf_group *g, char *buf, size_t cap, struct cgf_error **err);

/**
 * Lists the groups below a group, parents before their children: their paths
 * as cgf_group_path gives them, each followed by a newline, which no path
 * contains. Returns the whole length in bytes; as much as "cap" allows is
 * copied, with a NUL after it if the length is below "cap". "buf" may be NULL
 * if "cap" is 0. Between two calls groups may come and go.
 *
 *     -EINVAL  NULL
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
ssize_t cgf_group_list(const struct cgf_group *g, char *buf, size_t cap, struct cgf_error **err);

/**
 * A new descriptor for the group's directory, for a runtime that calls
 * clone3(CLONE_INTO_CGROUP) itself. O_PATH and O_CLOEXEC; the caller closes it.
 *
 * Returns the descriptor, or
 *
 *     -EMFILE, -ENFILE  no descriptor is left
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
int cgf_group_fd(const struct cgf_group *g, struct cgf_error **err);

/**
 * A new descriptor for the group's directory in the kernel tree that has a
 * controller, "pids" for one. O_PATH and O_CLOEXEC; the caller closes it.
 *
 * Returns the descriptor, or
 *
 *     -ENODEV  no tree of this hierarchy has it, or the group was removed
 *     -EMFILE, -ENFILE  no descriptor is left
 *     -ECHILD  in a forked child
 */
int cgf_controller_fd(const struct cgf_group *g, const char *controller, struct cgf_error **err);

/**
 * Lists the processes of this very group (not of those below), sorted, each
 * once, as seen in the caller's pid namespace (R1.9). Copies the first "cap" of
 * them and returns how many there are. "buf" may be NULL if "cap" is 0.
 *
 *     -EINVAL  NULL
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
ssize_t cgf_procs(const struct cgf_group *g, pid_t *buf, size_t cap, struct cgf_error **err);

/**
 * Lists the threads of this very group, as cgf_procs lists its processes.
 */
ssize_t cgf_tasks(const struct cgf_group *g, pid_t *buf, size_t cap, struct cgf_error **err);

/**
 * Frees the handle, not the group: that stays, with what is in it. NULL is
 * allowed.
 */
void cgf_group_free(struct cgf_group *g);

/**
 * Copies what a subsystem has noted on a group under "name", "SUBSYSTEM.key",
 * and returns its whole length in bytes. As much as "cap" allows is copied; a
 * NUL follows if there is room, that is if the length is below "cap". "buf" may
 * be NULL if "cap" is 0.
 *
 *     -ENODATA  nothing is noted
 *     -EINVAL   NULL, or not of a subsystem that the hierarchy is bound to
 *     -ENODEV   the group was removed
 *     -ECHILD   in a forked child
 */
ssize_t cgf_attribute_get(const struct cgf_group *g,
                          const char *name,
                          char *buf,
                          size_t cap,
                          struct cgf_error **err);

/**
 * Notes something on a group, under "SUBSYSTEM.key", where every process sees it
 * and with which it goes. NULL for "value" takes the note away, whether there is
 * one or not. A copy of the group (cgf_group_clone) has the same notes.
 *
 * Returns 0, or
 *
 *     -EINVAL  not of a subsystem that the hierarchy is bound to; not UTF-8
 *     -E2BIG   a value of more than 1024 bytes
 *     -ENOSPC  the kernel keeps no more: 128 notes and 128 KiB a group
 *     -EACCES  nothing may be noted on this group
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
int cgf_attribute_set(struct cgf_group *g,
                      const char *name,
                      const char *value,
                      struct cgf_error **err);

/**
 * Keeps a group from being removed through this library: -EBUSY for whoever
 * tries. (A bare rmdir(2) of the kernel's knows nothing of it.)
 *
 * Returns 0, and in "out" the reference, to be freed with cgf_reference_free; or
 *
 *     -ENODEV     the group was removed, or is being
 *     -ETIMEDOUT  somebody is about to remove it and does not get on with it,
 *                 within the hierarchy's deadline
 *     -EACCES     not permitted
 *     -ECHILD     in a forked child
 */
int cgf_reference(struct cgf_group *g, struct cgf_reference **out, struct cgf_error **err);

/**
 * Gives a reference back and frees it. In a forked child it only frees: the
 * reference is the parent's. NULL is allowed.
 */
void cgf_reference_free(struct cgf_reference *r);

/**
 * Moves a process with all its threads into a group; 0 is the caller (R2.1).
 * Its children stay where they are; those it makes later are born in the group.
 *
 * Returns 0, or
 *
 *     -ESRCH   no such process, or it ended meanwhile, or a thread's number
 *     -EBUSY   the group is FROZEN (R2.4); a checkpoint holds it, or the group that
 *              the process is in, or one above either (R4.1); on cgroup v2, it
 *              hands controllers down and so cannot hold processes
 *     -EACCES  the process is another user's (R1.13), or the caller may not
 *              write to the group
 *     -EINVAL  a negative number, or a kernel thread
 *     -ECANCELED  somebody moved it on at once
 *     -ENODEV  the group was removed
 *     -ENOENT  the hierarchy is bound to a subsystem that is not registered
 *              here
 *     -EPERM   the group is bound to namespaces, and the process is not in them; or
 *              it would be the first, and is not in the group above
 *     -ECHILD  in a forked child
 *     others   a subsystem refused, or could not follow (cgf_subsystem); the
 *              process is where it was
 */
int cgf_attach(struct cgf_group *g, pid_t pid, struct cgf_error **err);

/**
 * Moves one thread; 0 is the calling one. On cgroup v1, and within a threaded
 * subtree of v2.
 *
 * Returns 0, or
 *
 *     -EOPNOTSUPP  the group cannot hold single threads; the message says why
 *     -ESRCH       no such thread
 *     others as cgf_attach
 */
int cgf_attach_task(struct cgf_group *g, pid_t tid, struct cgf_error **err);

/**
 * Moves a process as cgf_attach does, with "flags": CGF_ATTACH_FROZEN.
 *
 *     -EINVAL  unknown flags
 *     others as cgf_attach
 */
int cgf_attach_with(struct cgf_group *g, pid_t pid, uint64_t flags, struct cgf_error **err);

/**
 * Moves the process that a pidfd stands for: it cannot be mistaken for another
 * that has its number by now. The descriptor stays the caller's. "flags":
 * CGF_ATTACH_FROZEN.
 *
 *     -EBADF   no pidfd
 *     -ESRCH   its process has gone
 *     -EINVAL  unknown flags
 *     others as cgf_attach
 */
int cgf_attach_pidfd(struct cgf_group *g, int pidfd, uint64_t flags, struct cgf_error **err);

/**
 * Starts a program as a child of the caller, in the group before its first
 * instruction (R1.5). On cgroup v2 it is born there.
 *
 * "file" is looked up in the child's PATH if it has no slash. "argv" and "envp"
 * end in NULL, as for execve(2); "argv" has at least the program's name. A NULL
 * "envp" is the caller's environ, which no other thread may change meanwhile.
 * Of a name that "envp" has twice, the last one counts. The child has the
 * caller's directory, the descriptors without O_CLOEXEC, and the calling
 * thread's signal mask. Waiting for it is the caller's: waitpid(2).
 *
 * Returns 0, and the child's number in "pid"; or
 *
 *     -ENOENT, -EACCES, -ENOEXEC, ...  the program could not be executed: the
 *              message names the step; nothing is left of the child
 *     -EBUSY   the group is not THAWED, or was frozen meanwhile, so that the
 *              program did not start within the hierarchy's deadline
 *     -EINVAL  an empty "argv", or a line of "envp" without "="
 *     -EAGAIN, -ENOMEM  no process could be made
 *     -EMFILE, -ENFILE  no descriptor is left
 *     -EPERM   the group is bound to namespaces, and the caller is not in them
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
int cgf_spawn(struct cgf_group *g,
              const char *file,
              char *const *argv,
              char *const *envp,
              pid_t *pid,
              struct cgf_error **err);

/**
 * Starts a program as cgf_spawn does, with more to say about it.
 *
 *     -EINVAL  unknown flags; a size that is less than the first version's
 *     -E2BIG   the structure is larger than this library knows, and what it
 *              does not know is not zero
 *     -EBADF   a descriptor that is not open, or a negative number
 *     -EINVAL  "namespaces" that the group is not bound to, or CLONE_NEWPID or
 *              CLONE_NEWTIME, which a process cannot change for itself
 *     -EPERM   the child may not make or join them, or is not in those of the group
 *     -EOPNOTSUPP  "namespaces", and the hierarchy is not bound to "namespace"
 *     others as cgf_spawn
 */
int cgf_spawn_with(struct cgf_group *g,
                   const char *file,
                   char *const *argv,
                   char *const *envp,
                   const struct cgf_spawn_options *options,
                   pid_t *pid,
                   struct cgf_error **err);

/**
 * Freezes every task of the group and of the groups below, and returns when
 * the last one has stopped (R3.2). A group that is frozen already stays so.
 *
 * "timeout_ms" bounds the wait in milliseconds: 0 asks and looks once, a
 * negative number waits without limit. "flags": CGF_FREEZE_ROLLBACK,
 * CGF_FREEZE_WITH_CALLER.
 *
 * Returns 0, or
 *
 *     -EBUSY   not all had stopped by the deadline: cgf_error_blockers names
 *              them, which may take 100 ms more. The group stays FREEZING until
 *              it is thawed, frozen again, or they go; with
 *              CGF_FREEZE_ROLLBACK it is as before
 *     -EBUSY   a checkpoint holds it, or a group above (R4.1); nothing was done
 *     -ECANCELED  somebody thawed it meanwhile
 *     -EDEADLK the caller is in the group; nothing was frozen (R3.5)
 *     -EINVAL  unknown flags, or the kernel's own root group
 *     -ENODEV  the group was removed
 *     -EACCES  not permitted
 *     -ECHILD  in a forked child
 */
int cgf_freeze(struct cgf_group *g, int timeout_ms, uint64_t flags, struct cgf_error **err);

/**
 * Lets every task of the group go that is not held by a group above or, in a
 * group below, by that group itself (R3.6). When it returns, no task is stopped
 * by the group any more (R3.8). Thawing a thawed group succeeds; so does thawing
 * one whose parent is frozen, and takes effect when the parent is thawed.
 *
 * Returns 0, or
 *
 *     -ETIMEDOUT  the kernel did not let go within the hierarchy's deadline
 *     -EBUSY   a checkpoint holds it, or a group above (R4.1)
 *     -EINVAL  the kernel's own root group
 *     -ENODEV  the group was removed
 *     -EACCES  not permitted
 *     -ECHILD  in a forked child
 */
int cgf_thaw(struct cgf_group *g, struct cgf_error **err);

/**
 * What the group's tasks really do at this moment (R3.1).
 *
 * Returns CGF_THAWED, CGF_FREEZING, CGF_FROZEN or CGF_CHECKPOINTING, or
 *
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
int cgf_state(const struct cgf_group *g, struct cgf_error **err);

/**
 * Freezes a group as cgf_freeze does, with the same "timeout_ms" and "flags",
 * for as long as this share or another one of anybody's is there.
 *
 * Returns 0, and in "out" the share, to be given back with cgf_hold_release; or
 *
 *     -ETIMEDOUT  another holder comes or goes and does not get on with it
 *     others as cgf_freeze; the share has been given back then
 */
int cgf_hold(struct cgf_group *g,
             int timeout_ms,
             uint64_t flags,
             struct cgf_hold **out,
             struct cgf_error **err);

/**
 * Gives a share back, thaws the group if it was the last, and frees the share,
 * whatever it returns. In a forked child it only frees: the share is the
 * parent's.
 *
 * Returns 0, or
 *
 *     -EINVAL  NULL
 *     -ETIMEDOUT  another holder comes or goes and does not get on with it,
 *              or the kernel did not let go, within the hierarchy's deadline
 *     -ENODEV  the group was removed
 */
int cgf_hold_release(struct cgf_hold *hold, struct cgf_error **err);

/**
 * Makes a FROZEN group CHECKPOINTING, so that an image of it can be taken (R4.1).
 * Until the end, whoever freezes, thaws, kills, renames or removes it, or moves
 * something into it or out of it, through this library and from any process,
 * gets -EBUSY; so does who does that to a group below, and who kills or removes
 * one above. What those do who write to the kernel's own files is found out at
 * the end.
 *
 * "root" is the process that is to be checkpointed with all its descendants,
 * which must all be in the group or below (R4.2). With 0 no family is looked at.
 *
 * A group that is frozen by one above it alone is asked to freeze itself until
 * the end. On cgroup v2 the call takes 25 ms, in which the kernel may still tell
 * of what was before. Asynchronous input and output (io_uring, libaio) that was
 * begun before may change the memory of frozen tasks, and so may a process
 * outside that shares it: nobody tells of that.
 *
 * Returns 0, and in "out" the checkpoint, to be ended with cgf_checkpoint_end; or,
 * with the group as it was,
 *
 *     -EINVAL  it is THAWED, or the kernel's own root group; "root" is negative
 *     -EBUSY   it is FREEZING; a checkpoint holds it already, or one above; or
 *              somebody acts upon it, or has its freeze file locked, and does not
 *              get on with it: the message says who
 *     -EXDEV   not all of the family are in the group; cgf_error_blockers names
 *              those who are not (CGF_EVIDENCE_OUTSIDE)
 *     -ESRCH   no process "root"
 *     -EDEADLK the caller is in the group
 *     -EOPNOTSUPP  the hierarchy is not bound to the freezer; or the kernel does
 *              not count how often a thread runs, which is needed on cgroup v1 and
 *              embedded
 *     -EACCES  not permitted to freeze it, or to note on it who checkpoints it
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
int cgf_checkpoint_begin(struct cgf_group *g,
                         pid_t root,
                         struct cgf_checkpoint **out,
                         struct cgf_error **err);

/**
 * Begins a checkpoint as cgf_checkpoint_begin does, with more to say about it.
 *
 *     -EINVAL  unknown flags; a size that is less than the first version's
 *     -E2BIG   the structure is larger than this library knows, and what it
 *              does not know is not zero
 *     others as cgf_checkpoint_begin
 */
int cgf_checkpoint_begin_with(struct cgf_group *g,
                              pid_t root,
                              const struct cgf_checkpoint_options *options,
                              struct cgf_checkpoint **out,
                              struct cgf_error **err);

/**
 * Says whether no task of the group could execute anything, and its members are
 * the same, since the checkpoint began (R4.4), without ending it. With
 * CGF_CHECKPOINT_EXTERNAL, only whether it goes on.
 *
 * A signal to a frozen task, which wakes it for a moment in the kernel, does no
 * harm. On cgroup v1 and embedded a thaw in which no task ran is not seen.
 *
 * Returns 0, or
 *
 *     -ESTALE  a task ran, or could, or came or left: cgf_error_blockers names the
 *              first one, and its "evidence" says which. Or somebody has ended the
 *              checkpoint by force
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
int cgf_checkpoint_verify(const struct cgf_checkpoint *c, struct cgf_error **err);

/**
 * Says what cgf_checkpoint_verify does, and copies the threads that were woken
 * for a moment and could execute nothing of their own, the first "cap" of them:
 * on cgroup v2, with CGF_CHECKPOINT_WAKEUPS. "buf" may be NULL if "cap" is 0.
 *
 * Returns how many there are, or fails as cgf_checkpoint_verify.
 */
ssize_t cgf_checkpoint_woken(const struct cgf_checkpoint *c,
                             pid_t *buf,
                             size_t cap,
                             struct cgf_error **err);

/**
 * Ends a checkpoint, says what cgf_checkpoint_verify does, and frees the
 * checkpoint, whatever it returns. The group is FROZEN then, or as its last
 * holder left it who went away meanwhile (cgf_hold). In a forked child it only
 * frees: the checkpoint is the parent's.
 *
 * Returns 0: the image is one of a group that was still. Or
 *
 *     -EINVAL  NULL
 *     others as cgf_checkpoint_verify; with CGF_CHECKPOINT_EXTERNAL, as cgf_freeze
 */
int cgf_checkpoint_end(struct cgf_checkpoint *c, struct cgf_error **err);

/**
 * Ends somebody's checkpoint of this group by force, whichever process has it.
 * The group is FROZEN then, or as its last holder left it (cgf_hold); who had the
 * checkpoint gets -ESTALE when it ends it.
 *
 * Returns 0, or
 *
 *     -ENOENT  no checkpoint holds the group itself
 *     -EBUSY   somebody acts upon it, and does not get on with it
 *     -ENODEV  the group was removed
 *     -EACCES  not permitted to freeze it
 *     -ECHILD  in a forked child
 */
int cgf_checkpoint_break(struct cgf_group *g, struct cgf_error **err);

/**
 * Sends a signal to every process of the group and below, to each once (R5.1);
 * 0 only checks that it could be sent.
 *
 * SIGKILL ends them all, those born meanwhile and those in frozen groups
 * included. The call returns when they are dead (though perhaps not yet waited
 * for), and leaves the freezer's state as it was (R5.2). Any other signal goes
 * to the processes that are there when the call begins. The caller, if it is in
 * the group, comes last.
 *
 * Returns 0, or
 *
 *     -EINVAL  no such signal, or the kernel's own root group
 *     -EBUSY   some were not dead by the hierarchy's deadline:
 *              cgf_error_blockers names them; or a checkpoint holds the group, one
 *              above it or below (R4.1), and no signal was sent
 *     -EPERM   not permitted to signal one of them; the others were signalled
 *     -EACCES  not permitted to kill in this group
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
int cgf_kill(struct cgf_group *g, int signal, struct cgf_error **err);

/**
 * Charges an amount of a resource to the group and to all groups above it, or, if
 * one of them has no room for it, to none (R6.2, R6.3). The charge is this
 * process's: all its threads share it, it survives an exec, and it ends with the
 * process, however that ends. It never waits.
 *
 * "resource" is CGF_NUMFILES and the like, or a number from cgf_resource_register;
 * "severity" CGF_BARRIER, CGF_LIMIT or CGF_FORCE. An amount of 0 succeeds.
 *
 * Returns 0, or, with nothing charged,
 *
 *     -ENOMEM  refused, and counted as that in the group that refused; which one it
 *              was, cgf_charge_many says
 *     -EMFILE  the same for CGF_NUMFILES
 *     -EINVAL  more than 2^48, or an unknown severity
 *     -ENOENT  no such resource in this hierarchy
 *     -EOPNOTSUPP  the hierarchy is not bound to "beancounter"
 *     -ENODEV  the group was removed
 *     -ENOSPC  no room for more counters
 *     -ECHILD  in a forked child
 */
int cgf_charge(struct cgf_group *g, uint32_t resource, uint64_t amount, int severity);

/**
 * Takes a charge back from the group and all groups above it: what this process
 * holds, and then what the group keeps (cgf_charge_kept). Of more than that, the
 * rest is not taken and counts in "bc.underflow" (R6.4).
 *
 * Returns 0, or -EINVAL, -ENOENT, -EOPNOTSUPP, -ENODEV, -ECHILD as cgf_charge.
 */
int cgf_uncharge(struct cgf_group *g, uint32_t resource, uint64_t amount);

/**
 * Charges several resources in one step, all of them or none, as cgf_charge does
 * each (R6.4). Nobody ever sees a part of it.
 *
 * Returns 0, or fails as cgf_charge does; the error's message names the group that
 * refused, the resource, and what is held of how much.
 */
int cgf_charge_many(struct cgf_group *g,
                    const struct cgf_amount *amounts,
                    size_t count,
                    int severity,
                    struct cgf_error **err);

/**
 * Takes several charges back in one step, as cgf_uncharge does each.
 *
 * Returns 0, or fails as cgf_uncharge.
 */
int cgf_uncharge_many(struct cgf_group *g,
                      const struct cgf_amount *amounts,
                      size_t count,
                      struct cgf_error **err);

/**
 * Charges several resources in one step, as cgf_charge_many, for the group itself:
 * the charges outlive this process, and last until somebody takes them back
 * (cgf_uncharge, from any process). A group cannot be removed before (-EBUSY).
 *
 * Returns 0, or fails as cgf_charge_many.
 */
int cgf_charge_kept(struct cgf_group *g,
                    const struct cgf_amount *amounts,
                    size_t count,
                    int severity,
                    struct cgf_error **err);

/**
 * Charges as much as there is room for, and at most "amount" (R6.4).
 *
 * Returns how much that was: 0 where there is no room, which counts as a refusal.
 * Else it fails as cgf_charge_many.
 */
int64_t cgf_charge_up_to(struct cgf_group *g,
                         uint32_t resource,
                         uint64_t amount,
                         int severity,
                         struct cgf_error **err);

/**
 * Sets a group's barrier and limit of a resource together (R6.6), each at most
 * 2^48, or CGF_NO_LIMIT. A limit below what is held lets nothing more in.
 *
 * Returns 0, or
 *
 *     -EINVAL  a barrier above the limit; more than 2^48
 *     others as cgf_charge_many
 */
int cgf_set_limits(struct cgf_group *g,
                   uint32_t resource,
                   uint64_t barrier,
                   uint64_t limit,
                   struct cgf_error **err);

/**
 * Copies the figures of all resources of the hierarchy in this group, as they were
 * at one instant (R6.5), by number, the first "cap" of them; and, where "underflow"
 * is not NULL, how often more was taken back than was held.
 *
 * "size" is sizeof(struct cgf_beancounter) in the caller's header: of a structure
 * that has grown since only that much is copied, and where the caller's is the
 * larger one, the rest is zero. "buf" may be NULL if "cap" is 0.
 *
 * Returns how many resources there are, or
 *
 *     -EINVAL  NULL
 *     -EOPNOTSUPP  the hierarchy is not bound to "beancounter"
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
ssize_t cgf_snapshot(const struct cgf_group *g,
                     struct cgf_beancounter *buf,
                     size_t size,
                     size_t cap,
                     uint64_t *underflow,
                     struct cgf_error **err);

/**
 * Makes a resource known by its name to all who use the hierarchy, now and later,
 * and gives its number: the same name has the same number for everybody (R6.1).
 * "unit" is what is counted, "bytes" for one. With NULL it is one that is known
 * already, as the standard ones are: "kmemsize", "privvmpages", "physpages",
 * "numtasks", "numfiles".
 *
 * "callbacks" are of this handle, and of the groups that are opened through it; they
 * take the place of those before, and NULL leaves them. The structure is copied, "state"
 * excepted, which the library has from now on and gives back by "free". "number"
 * may be NULL.
 *
 * Returns 0, or, with "state" still the caller's,
 *
 *     -EINVAL  no name for a resource, or none for a unit; a size that no version had
 *     -E2BIG   the structure is larger than this library knows, and what it does
 *              not know is not zero
 *     -EEXIST  it is known with another unit
 *     -ENOENT  no unit was given, and no such resource is known
 *     -ENOSPC  no room for another one
 *     -EOPNOTSUPP  the hierarchy is not bound to "beancounter"
 *     -ENODEV  the hierarchy has ended
 *     -ECHILD  in a forked child
 */
int cgf_resource_register(struct cgf_hierarchy *h,
                          const char *name,
                          const char *unit,
                          const struct cgf_resource_callbacks *callbacks,
                          uint32_t *number,
                          struct cgf_error **err);

/**
 * Brings the calling thread into the group's namespaces of some kinds, and into no
 * others (R10.2): CLONE_NEWNET and the like, of sched.h. What group the thread is
 * in stays as it is. A group is bound to kinds by its control file "ns.types".
 *
 * CLONE_NEWNS takes the root and working directory along: the thread is at the root of
 * what the member sees, and relative paths mean what they mean there; what is open
 * stays open. It and CLONE_NEWUSER want a process of one thread. CLONE_NEWPID and CLONE_NEWTIME hold for children that
 * the thread makes afterwards.
 *
 * Returns 0, or, with the thread where it was unless the message says otherwise,
 *
 *     -EINVAL  the group is not bound to one of the kinds, or none is given, or
 *              another bit is; CLONE_NEWNS or CLONE_NEWUSER, and the process has
 *              several threads
 *     -ESRCH   nobody is in the group, or nobody any longer in those namespaces
 *     -EPERM   the members' namespaces may not be seen; or the kernel wants
 *              CAP_SYS_ADMIN in the user namespace that a namespace belongs to, and
 *              in the caller's own
 *     -EUSERS  CLONE_NEWTIME, and the process has several threads
 *     -EOPNOTSUPP  the hierarchy is not bound to "namespace"
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 */
int cgf_enter(struct cgf_group *g,
              uint64_t namespaces,
              struct cgf_error **err);

/**
 * Reads a control file, such as "freezer.state", and returns the whole length
 * of its text in bytes (R1.8). As much as "cap" allows is copied; a NUL follows
 * if there is room, that is if the length is below "cap". "buf" may be NULL if
 * "cap" is 0. Each call is one consistent answer; two calls may differ.
 *
 *     -EINVAL  NULL
 *     -ENOENT  no such file, or its subsystem is not bound
 *     -EACCES  it can only be written
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 *     others as the function that does the same
 */
ssize_t cgf_read(const struct cgf_group *g,
                 const char *file,
                 char *buf,
                 size_t cap,
                 struct cgf_error **err);

/**
 * Writes a control file, with or without a newline at the end (R1.8). Writing
 * FROZEN to "freezer.state" asks and does not wait.
 *
 * Returns 0, or
 *
 *     -ENOENT  no such file, or its subsystem is not bound
 *     -EACCES  it can only be read
 *     -EINVAL  not what the file takes
 *     -E2BIG   more than 4096 bytes
 *     -ENODEV  the group was removed
 *     -ECHILD  in a forked child
 *     others as the function that does the same; nothing is half-done
 */
int cgf_write(struct cgf_group *g, const char *file, const char *text, struct cgf_error **err);

/**
 * Lists the control files that a group has, sorted: their names, each followed
 * by a newline. Returns the whole length in bytes; as much as "cap" allows is
 * copied, with a NUL after it if the length is below "cap". "buf" may be NULL if
 * "cap" is 0.
 *
 *     -EINVAL  NULL
 *     -ECHILD  in a forked child
 */
ssize_t cgf_control_files(const struct cgf_group *g, char *buf, size_t cap, struct cgf_error **err);

/**
 * The group that it comes into. Borrowed: good while the callback runs, and not
 * to be freed. NULL for NULL.
 */
struct cgf_group *cgf_attachment_group(const struct cgf_attachment *a);

/**
 * The process; 0 if this is a program that is to be started and has none yet.
 *
 *     -EINVAL  NULL
 */
pid_t cgf_attachment_pid(const struct cgf_attachment *a);

/**
 * Copies the path of the group where it is, or after the move was, and returns
 * its whole length in bytes, as cgf_group_path does: "/" if it was never moved; 0
 * if it is not born yet, or outside of a hierarchy that was opened by root=.
 *
 *     -EINVAL  NULL
 */
ssize_t cgf_attachment_from(const struct cgf_attachment *a, char *buf, size_t cap);

/**
 * Copies the numbers of the threads that come, the first "cap" of them, and
 * returns how many there are: all of the process, or the one of cgf_attach_task.
 * A program that is to be started counts as one, with the number 0. "buf" may
 * be NULL if "cap" is 0.
 *
 *     -EINVAL  NULL
 */
ssize_t cgf_attachment_threads(const struct cgf_attachment *a, pid_t *buf, size_t cap);

/**
 * 1 if this is a program that is to be started in the group, else 0. When it
 * has come (attach_task, attach), it is a process like any other: 0.
 *
 *     -EINVAL  NULL
 */
int cgf_attachment_is_birth(const struct cgf_attachment *a);

/**
 * 1 if it may come into a FROZEN group too, and freeze there
 * (CGF_ATTACH_FROZEN), else 0.
 *
 *     -EINVAL  NULL
 */
int cgf_attachment_may_freeze(const struct cgf_attachment *a);

/**
 * Makes a subsystem known to this process, so that hierarchies can be opened
 * with its name among the options. The structure and what it points to are
 * copied, "state" excepted, which the library has from now on and gives back by
 * "free". Children forked later have a copy of all of it.
 *
 * Returns 0, or, with "state" still the caller's,
 *
 *     -EEXIST  there is one of that name
 *     -EINVAL  no name for a subsystem; a list of controllers with an empty
 *              name; unknown flags of a file; files of different sizes; a size
 *              that no version had
 *     -E2BIG   the structure, or a file, is larger than this library knows, and
 *              what it does not know is not zero
 *     -ECHILD  in a child that was forked while another thread was at it
 *
 * The names of files are looked at when a hierarchy is opened (-EINVAL).
 */
int cgf_subsystem_register(const struct cgf_subsystem *s, struct cgf_error **err);

/**
 * Makes a subsystem unknown again. Hierarchies that this process has opened
 * with it keep it until their handles, and those of their groups, are freed.
 *
 * Returns 0, or
 *
 *     -ENOENT  none was registered by that name
 *     -EINVAL  NULL
 *     -ECHILD  as cgf_subsystem_register
 */
int cgf_subsystem_unregister(const char *name, struct cgf_error **err);

/**
 * What kind of thing has happened: CGF_EVENT_CREATED and so on.
 *
 *     -EINVAL  NULL
 */
int cgf_event_kind(const struct cgf_event *e);

/**
 * The same as one word, as cgf(1) prints it: "created", "foreign-thaw", ... The
 * string is constant. "" for NULL.
 */
const char *cgf_event_name(const struct cgf_event *e);

/**
 * Copies the path of the group that it happened to, "/" for what is about the
 * whole hierarchy, and returns its whole length in bytes, as cgf_group_path does.
 *
 *     -EINVAL  NULL
 */
ssize_t cgf_event_group(const struct cgf_event *e, char *buf, size_t cap);

/**
 * The same for the other end of a move within the hierarchy (CGF_EVENT_ATTACHED,
 * CGF_EVENT_LEFT).
 *
 *     -ENODATA  the event has none
 *     -EINVAL   NULL
 */
ssize_t cgf_event_other(const struct cgf_event *e, char *buf, size_t cap);

/**
 * Which process, as seen in the caller's pid namespace; it may have gone. 0 where
 * the event is about none.
 *
 *     -EINVAL  NULL
 */
pid_t cgf_event_pid(const struct cgf_event *e);

/**
 * The process that forked (CGF_EVENT_FORK), where it is known; else 0.
 *
 *     -EINVAL  NULL
 */
pid_t cgf_event_parent(const struct cgf_event *e);

/**
 * How the process ended (CGF_EVENT_EXIT): a status for WIFEXITED and the like
 * (waitpid(2)).
 *
 *     -ENODATA  the kernel did not tell, or it is no end
 *     -EINVAL   NULL
 */
int cgf_event_status(const struct cgf_event *e);

/**
 * When it happened, in nanoseconds of CLOCK_BOOTTIME: since the machine was
 * booted, sleep included. Of a fork and an exit by the kernel's clock where the
 * kernel told, else when it was noticed. 0 for NULL.
 */
uint64_t cgf_event_time(const struct cgf_event *e);

/**
 * The inode of the group's directory (on cgroup v2 the cgroup's id), 0 if it was
 * gone before it could be asked for. With cgf_event_boot_id it names the group
 * among all of all machines. 0 for NULL.
 */
uint64_t cgf_event_group_id(const struct cgf_event *e);

/**
 * This machine since it was booted, as /proc/sys/kernel/random/boot_id has it.
 * Owned by the event: good until that is freed. "" for NULL.
 */
const char *cgf_event_boot_id(const struct cgf_event *e);

/**
 * One of the event's figures, counted from 0: of CGF_EVENT_RELEASED
 * "frozen_usec" (microseconds) and, on cgroup v2, those of "cpu.stat" that end in
 * "_usec". The name in "name" is owned by the event: good until that is freed.
 *
 * Returns 0, or
 *
 *     -ENODATA  it has not so many
 *     -EINVAL   NULL
 */
int cgf_event_figure(const struct cgf_event *e, size_t index, const char **name, uint64_t *value);

/**
 * Of a loss or a failure: a sentence about it, else "". UTF-8, owned by the
 * event: good until that is freed. "" for NULL.
 */
const char *cgf_event_message(const struct cgf_event *e);

/**
 * Frees an event. NULL is allowed.
 */
void cgf_event_free(struct cgf_event *e);

/**
 * Begins to watch a hierarchy. What is there already is not told. "flags":
 * CGF_WATCH_TASKS, CGF_WATCH_LISTING.
 *
 * Returns a descriptor that poll(2) shows readable when there may be an event,
 * for cgf_watch_next to give. The watch owns it: it is only to be polled, and is
 * closed by cgf_watch_free, by which the handle in "out" is freed. Or
 *
 *     -EINVAL  unknown flags
 *     -EMFILE  no descriptor is left, or no inotify instance
 *              (fs.inotify.max_user_instances)
 *     -ENODEV  the hierarchy has ended
 *     -EACCES  a group cannot be read
 *     -ECHILD  in a forked child
 */
int cgf_watch_open(struct cgf_hierarchy *h,
                   uint64_t flags,
                   struct cgf_watch **out,
                   struct cgf_error **err);

/**
 * Gives the next event, in the order in which they were noticed. "timeout_ms"
 * bounds the wait in milliseconds: 0 looks once, a negative number waits without
 * limit.
 *
 * Returns 1, and an event in "out" to be freed with cgf_event_free; 0 if there
 * was none by then; or
 *
 *     -ENODEV  the hierarchy has ended, and everything was told
 *     -EBUSY   another thread waits for events of this watch
 *     -EACCES  a group cannot be read any more
 *     -ECHILD  in a forked child
 */
int cgf_watch_next(struct cgf_watch *w,
                   int timeout_ms,
                   struct cgf_event **out,
                   struct cgf_error **err);

/**
 * Whether who is born and ends is found by listing, so that short lives are
 * missed: 1 with CGF_WATCH_LISTING, or where the proc connector cannot be had;
 * else 0, and without CGF_WATCH_TASKS. Works in a forked child too.
 *
 *     -EINVAL  NULL
 */
int cgf_watch_lists_tasks(const struct cgf_watch *w, struct cgf_error **err);

/**
 * Ends a watch and closes its descriptor. NULL is allowed.
 */
void cgf_watch_free(struct cgf_watch *w);

/**
 * Begins to monitor a hierarchy. "flags" as cgf_watch_open; CGF_WATCH_TASKS is
 * implied if a subsystem of the hierarchy has a fork or an exit.
 *
 * Returns a descriptor to poll as cgf_watch_open does, and a handle in "out" to
 * be freed with cgf_monitor_free. It is readable too when there is something to
 * do of which no event comes. Errors are those of cgf_watch_open.
 */
int cgf_monitor_open(struct cgf_hierarchy *h,
                     uint64_t flags,
                     struct cgf_monitor **out,
                     struct cgf_error **err);

/**
 * Gives the next event as cgf_watch_next does, after what it calls for was done:
 * of a fork and an exit the subsystems have been called, in this thread.
 *
 * Returns 1, and an event in "out" to be freed with cgf_event_free; 0 if there
 * was none by then; or
 *
 *     -EBUSY   another thread waits for events of this monitor, or this is a
 *              callback that the monitor has called
 *     others   as cgf_watch_next, and what the fork or exit of a subsystem gives:
 *              that event is lost then, the next call goes on behind it
 *
 * What goes wrong with a release is no error, but CGF_EVENT_RELEASE_FAILED.
 */
int cgf_monitor_next(struct cgf_monitor *m,
                     int timeout_ms,
                     struct cgf_event **out,
                     struct cgf_error **err);

/**
 * As cgf_watch_lists_tasks.
 */
int cgf_monitor_lists_tasks(const struct cgf_monitor *m, struct cgf_error **err);

/**
 * Ends a monitor and closes its descriptor. NULL is allowed.
 */
void cgf_monitor_free(struct cgf_monitor *m);

/**
 * Tries every backend, and says for each, one line and in the order in which
 * backend=auto takes them, whether it works and where its hierarchies lie, or
 * at which step the trial ended. Takes some milliseconds, makes a child process
 * for each, and leaves nothing.
 *
 * Returns the length of the whole text in bytes; as much as "cap" allows is
 * copied, with a NUL after it if the length is below "cap". The text is for
 * people, its wording may change. Each call tries anew: offer 4096 bytes at
 * once rather than ask for the length first. "buf" may be NULL if "cap" is 0.
 *
 *     -EINVAL  NULL with room in it
 */
ssize_t cgf_doctor(char *buf, size_t cap, struct cgf_error **err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CGF_H */
