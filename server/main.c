/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

int main(void)
{
    printf("hookmesh %s\n", HOOKMESH_VERSION);
    return 0;
}
