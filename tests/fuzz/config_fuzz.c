/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration file: loaded or refused, without a crash, a leak or a long wait. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libfyaml 0.7 forgets a buffer after some syntax errors: 2 KiB for a bad file. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml";
}

static char dir[] = "/tmp/hm_config_fuzz_XXXXXX";
static char file[sizeof dir + 16];

static void remove_dir(void)
{
    unlink(file);
    rmdir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (file[0] == '\0') {
        must(mkdtemp(dir) != NULL);
        snprintf(file, sizeof file, "%s/x.yaml", dir);
        atexit(remove_dir);
    }
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    struct buf report = {0};
    struct config *c = config_load(dir, NULL, size % 2 == 0, &report);
    must((c == NULL) == (report.n != 0));
    config_unref(c);
    buf_finish(&report);
    log_forget_secrets();
    return 0;
}
