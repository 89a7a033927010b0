/* SPDX-License-Identifier: Apache-2.0 */
/* db setup-sql: what the triggers of type db_change need in the database, for a user who may make it; no server and no database is asked. */
#include <stdio.h>
#include <stdlib.h>

#include "cli_parts.h"
#include "config/config.h"
#include "trigger/db.h"

int cli_db_setup_sql(struct cli *c)
{
    const char *dir = c->arg_n != 0 ? c->args[0] : c->flags[FLAG_CONFIG];
    if (dir == NULL)
        dir = getenv("HOOKMESH_CONFIG");
    if (dir == NULL || dir[0] == '\0')
        dir = ".";
    struct buf out = {0};
    struct config *config = config_load(dir, NULL, true, &out);
    int code = EXIT_OK;
    if (config == NULL) {
        fwrite(out.p, 1, out.n, stderr);
        code = EXIT_FAILED;
    } else if (config->db_trigger_n == 0) {
        code = cli_fail(c, EXIT_FAILED,
                        "%s has no trigger of type db_change whose url is known; its variable must "
                        "be set, the value does not matter here",
                        dir);
    } else {
        buf_clear(&out);
        db_setup_sql(&out, config);
        fwrite(out.p, 1, out.n, stdout);
    }
    config_unref(config);
    buf_finish(&out);
    return code;
}
