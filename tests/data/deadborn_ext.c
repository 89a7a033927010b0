/* SPDX-License-Identifier: Apache-2.0 */
/* Dies while it is loaded. */
#include <stdlib.h>

#include "hookmesh_ext.h"

__attribute__((constructor)) static void die(void)
{
    abort();
}

static const struct hookmesh_job jobs[] = {{0}};

const struct hookmesh_ext hookmesh_ext = {HOOKMESH_EXT_ABI, jobs};
