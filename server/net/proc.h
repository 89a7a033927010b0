/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes, each in a process group of its own, with pipes on the loop.
 *
 * A child has ended when its output pipes are closed and it was waited for, in either order; only then does
 * on_exit fire, once, as the last callback. What is left of the group is killed, and so is all else that a contained child
 * started, also what went into a session of its own. A child that ended while others hold its pipes open gives them kill_grace_ms. The
 * environment holds what the options name and nothing else of ours: no secret of the server reaches a child. A contained child (not no_limits) has
 * core size 0 and no_new_privs, and is the parent of what its descendants orphan. */
#ifndef NET_PROC_H
#define NET_PROC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct proc;

struct proc_options {
    char *const *argv; /* argv[0] is looked up in PATH; NULL behind the last */
    char *const
        *env; /* "NAME=value", NULL behind the last: on top of PATH, HOME, LANG, TMPDIR, TZ */
    const char *cwd;       /* NULL: ours */
    int64_t timeout_ms;    /* then TERM to the group, KILL after kill_grace_ms; 0: none */
    int64_t kill_grace_ms; /* 0: 2000 */
    size_t stdout_max; /* more bytes on stdout: the group is killed, exit.overflow; 0: no limit */
    bool
        no_limits; /* not contained, our own trusted children: may dump core, may gain privileges by exec, may leave others behind */
    bool die_with_us; /* however we die (PR_SET_PDEATHSIG), the child gets ... */
    int death_signal; /* ... this; 0: SIGKILL */
};

struct proc_exit {
    int code;       /* exit status, or -1 when a signal ended it */
    int signal;     /* 0: none */
    bool timed_out; /* ended because of timeout_ms */
    bool overflow;  /* ended because of stdout_max */
    bool cancelled; /* ended because of proc_kill */
    int64_t wall_us;
};

/* What a child wrote to stderr before something on stdout comes before it. */
struct proc_events {
    void (*on_stdout)(void *arg, struct str bytes); /* may be NULL */
    void (*on_stderr)(void *arg, struct str bytes); /* may be NULL: inherits our stderr */
    void (*on_exit)(void *arg, const struct proc_exit *x);
};

/* NULL with e set when it can't be started: then on_exit does not fire. ERR_NOT_FOUND: no such program or cwd;
 * ERR_FORBIDDEN: not executable; ERR_UNAVAILABLE: no more processes, descriptors or memory. */
struct proc *proc_spawn(const struct proc_options *o, const struct proc_events *ev, void *arg,
                        struct err *e);
/* Bytes are copied and written as the child takes them; a child that closed its stdin is no error. */
void proc_write(struct proc *p, struct str bytes);
void proc_close_stdin(struct proc *p); /* after what was written went out */
size_t proc_unwritten(const struct proc *p);
void proc_kill(struct proc *p); /* TERM to the group, KILL after the grace; on_exit follows */
int proc_pid(const struct proc *p);

#endif
