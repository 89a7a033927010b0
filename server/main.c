/* SPDX-License-Identifier: Apache-2.0 */
/* One binary: the server, its client, and the children that host shared objects and jq programs. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "demo.h"
#include "serve.h"
#include "work/filter.h"
#include "work/work.h"

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "extension-host") == 0)
        return work_extension_host_main(argc - 1, argv + 1);
    if (strcmp(command, "filter-host") == 0)
        return filter_host_main(argc - 1, argv + 1);
    bool demo = strcmp(command, "demo") == 0;
    if (!demo && strcmp(command, "serve") != 0)
        return cli_main(argc, argv);
    struct serve_options options;
    int code;
    struct err e;
    if (!cli_serve_options(argc - 1, argv + 1, &options)) {
        code = options.exit_code;
    } else if (demo && !demo_prepare(&options, &e)) {
        fprintf(stderr, "hookmesh: %s\n", e.text);
        code = EXIT_FAILED;
    } else {
        code = serve_main(&options, argv + 2, demo);
    }
    demo_finish();
    serve_options_finish(&options);
    return code;
}
