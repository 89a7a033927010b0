/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: everything but starting a server. main() asks cli_serve_options for the commands that start one
 * and gives all else to cli_main. */
#ifndef SERVER_CLI_H
#define SERVER_CLI_H

#include <stdbool.h>

/* Exit codes; interfaces, so they never change. */
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 64,
    EXIT_UNREACHABLE = 69,
    EXIT_NOT_ALLOWED = 77,
};

/* argv as main got it. Returns the exit code. */
int cli_main(int argc, char **argv);

struct serve_options {
    const char *config_dir; /* --config, HOOKMESH_CONFIG, or NULL */
    const char **overrides; /* "name=value", NULL behind the last: for config_load */
    int exit_code;          /* when false was returned: 0 for --help, else 64 */
};
/* argv[0] is the command ("serve", "demo"). false: help was printed, or what is wrong with the options. Tells the configuration
 * also which webhook schemes there are. serve_options_finish in either case. */
bool cli_serve_options(int argc, char **argv, struct serve_options *out);
void serve_options_finish(struct serve_options *o);

#endif
