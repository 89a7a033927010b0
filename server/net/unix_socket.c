/* SPDX-License-Identifier: Apache-2.0 */
/* A path that is too long is reached by its directory, opened as a descriptor and named by /proc/self/fd/N. */
#include "net/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

static int connect_to(int fd, const struct sockaddr_un *a)
{
    return connect(fd, (const struct sockaddr *)a, sizeof *a);
}

static int connect_by_directory(int fd, const char *directory, const char *name)
{
    int dir = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -1;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dir, name);
    errno = ENAMETOOLONG;
    int rc = n < (int)sizeof a.sun_path ? connect_to(fd, &a) : -1;
    int cause = errno;
    close(dir);
    errno = cause;
    return rc;
}

int unix_socket_connect(int fd, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const char *slash = strrchr(path, '/');
    if (strlen(path) < sizeof a.sun_path) {
        memcpy(a.sun_path, path, strlen(path));
        return connect_to(fd, &a);
    }
    if (slash == NULL) {
        errno = ENAMETOOLONG;
        return -1;
    }
    char *directory = mem_dup(path, (size_t)(slash - path));
    int rc = connect_by_directory(fd, directory, slash + 1);
    int cause = errno;
    mem_free(directory);
    errno = cause;
    return rc;
}
