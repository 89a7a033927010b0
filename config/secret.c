/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets come from the environment or from a file, never from the configuration itself: that is shared, committed and shown. Each that is read is told to the
 * log, which shows it nowhere from then on. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "config/parts.h"

enum { SECRET_FILE_MAX = 65536 };

/* A secret from its file, without the newline at its end. */
static bool read_secret(const char *path, struct buf *out, const char **why)
{
    if (!read_whole(path, SECRET_FILE_MAX, "it is too large for a secret", out, why))
        return false;
    while (out->n != 0 && (out->p[out->n - 1] == '\n' || out->p[out->n - 1] == '\r'))
        out->n--;
    if (out->n == 0)
        *why = "the file is empty";
    else if (memchr(out->p, '\0', out->n) != NULL)
        *why = "the file has NUL characters in it";
    return *why == NULL;
}

static bool secret_file(struct load *l, struct place at, const char *field, const char *path,
                        char **out)
{
    struct buf b = {0};
    const char *why = NULL;
    if (!read_secret(path, &b, &why)) {
        load_fail(l, at, field, "the secret cannot be read from %s: %s", path, why);
        buf_finish(&b);
        return false;
    }
    *out = mem_dup(b.p, b.n);
    buf_finish(&b);
    return true;
}

bool load_secret_file(struct load *l, struct place at, const char *field, const char *path,
                      char **out)
{
    if (!secret_file(l, at, field, path, out))
        return false;
    log_secret(str_of(*out));
    return true;
}

bool load_variable(struct load *l, struct place at, const char *field, const char *name, char **out)
{
    char *file_name = mem_format("%s_FILE", name);
    const char *value = getenv(name);
    const char *path = getenv(file_name);
    bool ok = true;
    *out = NULL;
    if (value != NULL && value[0] == '\0')
        value = NULL;
    if (path != NULL && path[0] == '\0')
        path = NULL;
    if (value != NULL && path != NULL) {
        load_fail(l, at, field, "%s and %s are both set: unset one", name, file_name);
        ok = false;
    } else if (path != NULL) {
        ok = secret_file(l, at, field, path, out);
    } else if (value != NULL) {
        *out = mem_strdup(value);
    }
    mem_free(file_name);
    return ok;
}

bool load_secret(struct load *l, struct place at, const char *field, const char *name, char **out)
{
    if (!load_variable(l, at, field, name, out))
        return false;
    if (*out != NULL)
        log_secret(str_of(*out));
    return true;
}

/* secret: ${NAME} says the same as secret_env: NAME. A secret itself has no place in a file that is shared. */
static char *variable_of(const struct node *n)
{
    size_t size = n->text_n;
    if (n->type != NODE_TEXT || size < 4 || strncmp(n->text, "${", 2) != 0 ||
        strchr(n->text, '}') != n->text + size - 1)
        return NULL;
    return mem_dup(n->text + 2, size - 3);
}

static char *named_variable(struct load *l, const struct node *direct)
{
    char *name = variable_of(direct);
    if (name != NULL)
        return name;
    if (direct->type == NODE_TEXT)
        log_secret(str_of(direct->text)); /* the report must not show it */
    load_fail(l, direct->at, "secret",
              "a secret does not belong into this file: write secret_env: NAME and set that "
              "variable");
    return NULL;
}

bool load_secret_keys(struct load *l, const struct node *map, const char *standard,
                      struct place *at, char **name, char **value)
{
    const struct node *env = node_get(map, "secret_env");
    const struct node *file = node_get(map, "secret_file");
    const struct node *direct = node_get(map, "secret");
    if ((env != NULL) + (file != NULL) + (direct != NULL) > 1) {
        load_fail(l, map->at, NULL, "has several of secret_env, secret_file, secret: choose one");
        return false;
    }
    if (file != NULL) {
        *at = file->at;
        *name = load_path(l, file, "secret_file");
        return *name != NULL && load_secret_file(l, file->at, "secret_file", *name, value);
    }
    if (env != NULL) {
        *at = env->at;
        *name = load_word(l, env, "secret_env");
    } else if (direct != NULL) {
        *at = direct->at;
        *name = named_variable(l, direct);
    } else {
        *name = mem_strdup(standard);
        if (standard == NULL)
            return true;
    }
    return *name != NULL && load_secret(l, *at, "secret", *name, value);
}
