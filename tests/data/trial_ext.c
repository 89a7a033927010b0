/* SPDX-License-Identifier: Apache-2.0 */
/* An extension that does what extensions do when they go wrong, one job each. The input of most is a JSON string that says how. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hookmesh_ext.h"

static int input_is(const struct hookmesh_call *call, const char *text)
{
    return call->input.n == strlen(text) + 2 && memcmp(call->input.p + 1, text, strlen(text)) == 0;
}

static int echo(struct hookmesh_call *call)
{
    call->write(call, call->input.p, call->input.n);
    return HOOKMESH_OK;
}

/* [key, run, attempt, number of also values there, their lengths...] */
static int context(struct hookmesh_call *call)
{
    char text[1000];
    int n = snprintf(text, sizeof text, "[\"%.*s\",\"%.*s\",%d", (int)call->key.n, call->key.p,
                     (int)call->run.n, call->run.p, call->attempt);
    for (size_t i = 0; i < call->also_n; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, ",%s%.*s",
                      call->also[i].p == NULL ? "null" : "", (int)call->also[i].n,
                      call->also[i].p == NULL ? "" : call->also[i].p);
    call->write(call, text, (size_t)n);
    call->write(call, "]", 1);
    return HOOKMESH_OK;
}

static void spin(void)
{
    for (;;)
        pause();
}

static int trouble(struct hookmesh_call *call)
{
    if (input_is(call, "segv")) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an exit of it */
        raise(SIGSEGV);
    }
    if (input_is(call, "exit"))
        _exit(3);
    if (input_is(call, "hang"))
        spin();
    if (input_is(call, "slow"))
        usleep(300 * 1000);
    if (input_is(call, "nothing"))
        return HOOKMESH_OK;
    if (input_is(call, "garbage")) {
        call->write(call, "{\"half\":", 8);
        return HOOKMESH_OK;
    }
    if (input_is(call, "two")) {
        call->write(call, "1 2", 3);
        return HOOKMESH_OK;
    }
    if (input_is(call, "retry")) {
        call->fail(call, "the sea is rough");
        return HOOKMESH_RETRY;
    }
    if (input_is(call, "fail")) {
        call->fail(call, "this is no boat");
        return HOOKMESH_FAIL;
    }
    if (input_is(call, "odd"))
        return 77;
    if (input_is(call, "print")) {
        printf("printed\n");
        fprintf(stderr, "complained\n");
    }
    if (input_is(call, "log")) {
        call->log(call, "first line");
        call->log(call, "second line");
    }
    if (input_is(call, "log then hang")) {
        call->log(call, "before the long wait");
        spin();
    }
    if (input_is(call, "big")) {
        static char piece[65536];
        memset(piece, ' ', sizeof piece);
        for (int i = 0; i < 1024; i++)
            call->write(call, piece, sizeof piece);
    }
    call->write(call, call->input.p, call->input.n);
    return HOOKMESH_OK;
}

/* Bytes that are no frame, to where the frames go: the pipe that is open for writing and closed on exec. */
static int scribble(struct hookmesh_call *call)
{
    (void)call;
    for (int fd = 3; fd < 64; fd++) {
        struct stat st;
        if (fstat(fd, &st) != 0 || !S_ISFIFO(st.st_mode) || fcntl(fd, F_GETFD) != FD_CLOEXEC ||
            (fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY)
            continue;
        ssize_t n = write(fd, "\1\0\0\0nonsense nonsense", 21);
        (void)n;
    }
    spin();
    return HOOKMESH_OK;
}

static int tell_pid(struct hookmesh_call *call)
{
    char text[24];
    call->write(call, text, (size_t)snprintf(text, sizeof text, "%d", (int)getpid()));
    return HOOKMESH_OK;
}

/* An environment variable's value, or null. */
static int environment(struct hookmesh_call *call)
{
    char name[64] = "";
    if (call->input.n > 2 && call->input.n < sizeof name)
        memcpy(name, call->input.p + 1, call->input.n - 2);
    const char *value = getenv(name);
    call->write(call, value == NULL ? "null" : "\"set\"", value == NULL ? 4 : 5);
    return HOOKMESH_OK;
}

static const struct hookmesh_job jobs[] = {
    {"echo", echo},
    {"context", context},
    {"trouble", trouble},
    {"scribble", scribble},
    {"pid", tell_pid},
    {"environment", environment},
    {0},
};

const struct hookmesh_ext hookmesh_ext = {HOOKMESH_EXT_ABI, jobs};
