/* SPDX-License-Identifier: Apache-2.0 */
/* Files are written in the thread pool, under another name in the same directory, flushed, and renamed: half a file is never visible, whoever
 * dies when. The other name is the same for each repetition of an attempt, so that what a killed server left is used up and not heaped up.
 *
 * A name comes from a run's id, which may hold nearly anything: what is put in stays within its own part of the path, so no run writes elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/loop.h"
#include "work/deliver.h"

enum { PART_MAX = 255 };

struct deliver_file {
    char *path;
    char *other; /* the name while it is written */
    struct buf content;
    int error; /* errno; 0: it is written */
    const char *doing;
    deliver_file_fn fn; /* NULL: forgotten */
    void *arg;
};

/* One part of the path, between slashes. */
static bool fill_part(struct buf *out, struct str part, const struct pattern_match *m,
                      struct str run, struct err *e)
{
    size_t from = out->n;
    if (memchr(part.p, '{', part.n) == NULL) {
        buf_str(out, part);
        return true;
    }
    if (!template_fill(out, part, m, run))
        return err_fail(e, ERR_CONFIG,
                        "the file's name has something in braces that is not {1} "
                        "or {run}");
    struct str filled = {out->p + from, out->n - from};
    if (filled.n == 0 || filled.n > PART_MAX || filled.p[0] == '.' ||
        memchr(filled.p, '/', filled.n) != NULL)
        return err_fail(e, ERR_CONFIG,
                        "the run's name cannot be part of a file's name: with it "
                        "the name begins with a dot, has a slash in it, or is too "
                        "long");
    return true;
}

bool deliver_file_path(struct buf *out, const char *tmpl, const struct pattern_match *m,
                       struct str run, struct err *e)
{
    struct str rest = str_of(tmpl);
    for (bool first = true; rest.p != NULL; first = false) {
        if (!first)
            buf_char(out, '/');
        if (!fill_part(out, str_split(&rest, '/'), m, run, e))
            return false;
    }
    if (out->n == 0 || out->p[0] != '/' || out->p[out->n - 1] == '/')
        return err_fail(e, ERR_CONFIG, "\"%s\" is no path of a file", tmpl);
    return true;
}

static bool write_all(int fd, struct str s)
{
    while (s.n != 0) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s.p += n;
        s.n -= (size_t)n;
    }
    return true;
}

/* The rename itself must outlive a power cut. */
static void sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = mem_dup(path, slash == path ? 1 : (size_t)(slash - path));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    mem_free(dir);
}

static bool put_in_place(struct deliver_file *f)
{
    f->doing = "created";
    int fd = open(f->other, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return false;
    f->doing = "written";
    bool ok = write_all(fd, buf_view(&f->content)) && fsync(fd) == 0;
    int why = errno;
    ok = close(fd) == 0 && ok;
    if (ok) {
        f->doing = "put in its place";
        if (rename(f->other, f->path) == 0)
            return true;
        why = errno;
    }
    unlink(f->other);
    errno = why;
    return false;
}

static void work(void *arg)
{
    struct deliver_file *f = arg;
    f->error = put_in_place(f) ? 0 : errno;
    if (f->error == 0)
        sync_directory(f->path);
}

/* Full or failing disks and limits may be another way in a minute; a directory that is not there is the configuration's. */
static enum claim_outcome judge(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case EPERM:
    case EROFS:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG: return CLAIM_FAIL;
    default: return CLAIM_RETRY;
    }
}

static void done(void *arg)
{
    struct deliver_file *f = arg;
    if (f->fn != NULL && f->error == 0) {
        f->fn(f->arg, CLAIM_OK, NULL);
    } else if (f->fn != NULL) {
        const char *hint = f->error == ENOENT || f->error == ENOTDIR
                               ? "; its directory must be there, and is not made by itself"
                               : "";
        char *text =
            mem_format("%s cannot be %s: %s%s", f->path, f->doing, strerror(f->error), hint);
        f->fn(f->arg, judge(f->error), text);
        mem_free(text);
    }
    mem_free(f->path);
    mem_free(f->other);
    buf_finish(&f->content);
    mem_free(f);
}

struct deliver_file *deliver_file_write(const char *path, struct str id, int attempt,
                                        struct buf *content, deliver_file_fn fn, void *arg)
{
    struct deliver_file *f = mem_new(struct deliver_file);
    const char *slash = strrchr(path, '/');
    f->path = mem_strdup(path);
    f->other = mem_format("%.*s.%.*s-%d.part", (int)(slash + 1 - path), path,
                          (int)(id.n < 40 ? id.n : 40), id.p, attempt);
    f->content = *content;
    *content = (struct buf){0};
    f->fn = fn;
    f->arg = arg;
    loop_work(work, done, f);
    return f;
}

void deliver_file_forget(struct deliver_file *f)
{
    f->fn = NULL;
}
