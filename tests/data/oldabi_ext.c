/* SPDX-License-Identifier: Apache-2.0 */
/* Built, as it says, for another version of the interface. */
#include "hookmesh_ext.h"

static const struct hookmesh_job jobs[] = {{0}};

const struct hookmesh_ext hookmesh_ext = {HOOKMESH_EXT_ABI + 41, jobs};
