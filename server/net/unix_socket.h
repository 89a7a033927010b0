/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets at paths of any length: a socket address holds 107 bytes, a data directory may be deeper. */
#ifndef NET_UNIX_SOCKET_H
#define NET_UNIX_SOCKET_H

/* connect(2) by path; -1 with errno. */
int unix_socket_connect(int fd, const char *path);

#endif
