/* SPDX-License-Identifier: Apache-2.0 */
/* A real PostgreSQL of a test's own: made by initdb in a temporary directory, reached by a unix socket alone, and gone with the
 * test. PostgreSQL refuses to run as root, so root makes it as the user `postgres` (or nobody). */
#ifndef UNIT_POSTGRES_H
#define UNIT_POSTGRES_H

#include <check.h>
#include <ftw.h>
#include <glob.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

struct postgres {
    char dir[64]; /* socket and data */
    char *bin;    /* where its programs are */
    char *url;    /* postgresql:///postgres?host=DIR&user=tester */
    pid_t pid;    /* 0: it does not run */
};

static void postgres_be_nobody(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const struct passwd *pw = getpwnam("postgres");
    if (pw == NULL)
        pw = getpwnam("nobody");
    if (getuid() == 0 && (pw == NULL || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0))
        _exit(126);
}

/* Runs a program of PostgreSQL's as its user; what it prints goes to DIR/log. */
static pid_t postgres_spawn(const struct postgres *p, char *const *argv)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    postgres_be_nobody();
    char *log = mem_format("%s/log", p->dir);
    /* By their whole path: they look for each other beside themselves. */
    char *program = mem_format("%s/%s", p->bin, argv[0]);
    char *words[16] = {program};
    for (size_t i = 1; i < 15 && argv[i] != NULL; i++)
        words[i] = argv[i];
    if (freopen(log, "a", stdout) == NULL || dup2(STDOUT_FILENO, STDERR_FILENO) < 0 ||
        chdir(p->dir) != 0)
        _exit(126);
    execv(program, words);
    _exit(127);
}

static void postgres_fail(const struct postgres *p, const char *what)
{
    char *show = mem_format("tail -n 20 %s/log >&2", p->dir);
    int shown = system(show);
    ck_abort_msg("%s failed (%d); see %s", what, shown, p->dir);
}

static bool postgres_answers(const struct postgres *p)
{
    char ready[] = "pg_isready", quiet[] = "-q", h[] = "-h";
    char *host = mem_strdup(p->dir);
    pid_t pid = postgres_spawn(p, (char *[]){ready, quiet, h, host, NULL});
    int status = 0;
    mem_free(host);
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static void postgres_launch(struct postgres *p)
{
    char name[] = "postgres", d[] = "-D", k[] = "-k", h[] = "-h", none[] = "", c[] = "-c",
         fsync[] = "fsync=off";
    char *data = mem_format("%s/data", p->dir);
    char *dir = mem_strdup(p->dir);
    p->pid = postgres_spawn(p, (char *[]){name, d, data, k, dir, h, none, c, fsync, NULL});
    mem_free(data);
    mem_free(dir);
}

static void postgres_start(struct postgres *p)
{
    postgres_launch(p);
    for (int i = 0; !postgres_answers(p); i++) {
        int status;
        if (i > 3000)
            postgres_fail(p, "postgres");
        usleep(10000); /* it does not tell anybody when it is ready */
        if (waitpid(p->pid, &status, WNOHANG) != 0)
            postgres_launch(p); /* children of one that was killed still end */
    }
}

static void postgres_make(struct postgres *p)
{
    *p = (struct postgres){.dir = "/tmp/hookmesh-pg-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(p->dir));
    ck_assert_int_eq(chmod(p->dir, 0777), 0);
    glob_t found;
    ck_assert_msg(glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0,
                  "the package postgresql is not installed");
    const char *initdb_path = found.gl_pathv[found.gl_pathc - 1];
    p->bin = mem_dup(initdb_path, strlen(initdb_path) - strlen("/initdb"));
    globfree(&found);
    char initdb[] = "initdb", d[] = "-D", trust[] = "-Atrust", user[] = "-Utester", n[] = "-N",
         utf8[] = "-EUTF8", locale[] = "--locale=C";
    char *data = mem_format("%s/data", p->dir);
    pid_t pid = postgres_spawn(p, (char *[]){initdb, d, data, trust, user, n, utf8, locale, NULL});
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        postgres_fail(p, "initdb");
    mem_free(data);
    p->url = mem_format("postgresql:///postgres?host=%s&user=tester", p->dir);
    postgres_start(p);
}

/* As when the machine dies. */
static void postgres_kill9(struct postgres *p)
{
    kill(p->pid, SIGKILL);
    ck_assert_int_eq(waitpid(p->pid, NULL, 0), p->pid);
    p->pid = 0;
}

static int postgres_remove(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st, (void)type, (void)f;
    return remove(path);
}

static void postgres_free(struct postgres *p)
{
    if (p->pid != 0) {
        kill(p->pid, SIGINT); /* the fast way: connections are cut */
        waitpid(p->pid, NULL, 0);
    }
    nftw(p->dir, postgres_remove, 8, FTW_DEPTH | FTW_PHYS);
    mem_free(p->bin);
    mem_free(p->url);
}

/* What psql prints for it, unaligned; the caller frees. */
__attribute__((unused)) static char *postgres_sql(const struct postgres *p, const char *sql)
{
    char *command = mem_format(
        "%s/psql -X -q -A -t -v ON_ERROR_STOP=1 '%s' <<'END_OF_SQL' 2>&1\n%s\nEND_OF_SQL\n", p->bin,
        p->url, sql);
    FILE *f = popen(command, "r");
    ck_assert_ptr_nonnull(f);
    struct buf out = {0};
    char some[4096];
    size_t n;
    while ((n = fread(some, 1, sizeof some, f)) != 0)
        buf_add(&out, some, n);
    int status = pclose(f);
    ck_assert_msg(status == 0, "%s: %s", sql, out.n != 0 ? out.p : "");
    mem_free(command);
    buf_puts(&out, "");
    return buf_take(&out);
}

__attribute__((unused)) static void postgres_do(const struct postgres *p, const char *sql)
{
    mem_free(postgres_sql(p, sql));
}

#endif
