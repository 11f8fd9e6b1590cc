/* address.h - where a node listens and is dialled. */
#ifndef PROTO_ADDRESS_H
#define PROTO_ADDRESS_H

#include "proto/base.h"

/* Longest host of an address, in bytes. */
#define HOST_BYTES_MAX 100

/* Is it HOST:PORT, with a port of 1 to 65535? [V6]:PORT as well. If listening: the host may be empty, the port 0. */
bool address_ok(const char *address, bool listening);

#endif
