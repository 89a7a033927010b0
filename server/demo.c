/* SPDX-License-Identifier: Apache-2.0 */
/* The secret is made once and kept, so that the printed command works after a restart too. */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/kv.h"
#include "handlers/auth.h"

static struct {
    char *config_dir;
    char *secret_file;
} self;

static char *find_config(void)
{
    char program[4096];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        *slash = '\0';
    char *places[] = {mem_format("%s/../share/hookmesh/config/demo", program),
                      mem_format("%s/../config/demo", program),
                      mem_strdup(HOOKMESH_SOURCE_DIR "/config/demo")};
    char *found = NULL;
    for (size_t i = 0; i < 3; i++) {
        if (found == NULL && access(places[i], R_OK) == 0)
            found = places[i];
        else
            mem_free(places[i]);
    }
    return found;
}

static const char *data_dir(const struct serve_options *o)
{
    const char *dir = getenv("HOOKMESH_DATA");
    for (size_t i = 0; o->overrides != NULL && o->overrides[i] != NULL; i++) {
        if (strncmp(o->overrides[i], "data=", 5) == 0)
            dir = o->overrides[i] + 5;
    }
    return dir != NULL ? dir : ".hookmesh";
}

static bool make_secret(const char *path, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST || err_errno(e, "cannot make %s", path);
    unsigned char random[24];
    struct buf text = {0};
    id_random(random, sizeof random);
    buf_hex(&text, random, sizeof random);
    bool written = write(fd, text.p, text.n) == (ssize_t)text.n;
    close(fd);
    buf_finish(&text);
    return written || err_errno(e, "cannot write %s", path);
}

bool demo_prepare(struct serve_options *o, struct err *e)
{
    if (o->config_dir == NULL) {
        self.config_dir = find_config();
        if (self.config_dir == NULL)
            return err_fail(e, ERR_CONFIG,
                            "the examples are not installed; name a configuration with --config");
        o->config_dir = self.config_dir;
    }
    if (getenv("HOOKMESH_SECRET_GITHUB") != NULL || getenv("HOOKMESH_SECRET_GITHUB_FILE") != NULL)
        return true;
    const char *data = data_dir(o);
    (void)mkdir(data, 0700); /* what matters shows when the file is made */
    char *absolute = realpath(data, NULL);
    if (absolute == NULL)
        return err_errno(e, "cannot make the data directory %s", data);
    self.secret_file = mem_format("%s/secret-github", absolute);
    free(absolute);
    return make_secret(self.secret_file, e) &&
           (setenv("HOOKMESH_SECRET_GITHUB_FILE", self.secret_file, 1) == 0 ||
            err_errno(e, "setenv"));
}

static void on_put(void *arg, size_t n, const int64_t *versions, const struct err *e)
{
    (void)arg;
    (void)n;
    (void)versions;
    if (e != NULL)
        log_warn("demo", "not_put", "error=%s", log_quotez(e->text));
}

void demo_show(const char *url)
{
    const char *secret =
        self.secret_file != NULL ? self.secret_file : getenv("HOOKMESH_SECRET_GITHUB_FILE");
    struct kv_put first = {
        .key = STR("pipeline.welcome.raw"),
        .value =
            STR("{\"id\":\"welcome\",\"title\":\"Welcome\",\"body\":\"This document went through "
                "two stages when the server started. Edit its key and they run again.\"}"),
        .if_version = KV_ANY,
    };
    kv_put(1, &first, on_put, NULL);
    printf("\nhookmesh %s is up at %s\n\n", HOOKMESH_VERSION, url);
    printf("  Open the dashboard (the link works once, for ten minutes):\n    %s/login?code=%s\n\n",
           url, auth_one_time_code());
    printf("  Send a signed GitHub push:\n    ");
    if (secret != NULL)
        printf("HOOKMESH_SECRET_GITHUB_FILE=%s ", secret);
    printf("hookmesh send github push --to %s\n\n", url);
    printf("  Put a document, read what became of it:\n"
           "    hookmesh kv put pipeline.doc-001.raw "
           "'{\"id\":\"doc-001\",\"title\":\"Hello\",\"body\":\"Hello from Berlin.\"}' --url %s\n"
           "    hookmesh kv get pipeline.doc-001.summary --url %s\n\nCtrl-C stops it.\n",
           url, url);
    fflush(stdout);
}

void demo_finish(void)
{
    mem_free(self.config_dir);
    mem_free(self.secret_file);
    self.config_dir = self.secret_file = NULL;
}
