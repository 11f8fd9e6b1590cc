#include "proto/address.h"

#define PORT_DIGITS_MAX 5
#define PORT_MAX        65535u

/* What would mean something else in a URL, and what nobody means. */
static bool is_foreign(char c)
{
    return (unsigned char)c <= ' ' || c == '/' || c == '?' || c == '#' ||
           c == '@' || c == '%';
}

static bool port_ok(const char *port, bool listening)
{
    uint32_t value = 0;
    size_t n = 0;
    for (; port[n] != 0; n++) {
        if (n == PORT_DIGITS_MAX || port[n] < '0' || port[n] > '9') {
            return false;
        }
        value = value * 10 + (uint32_t)(port[n] - '0');
    }
    return n > 0 && value <= PORT_MAX && (value > 0 || listening);
}

bool address_ok(const char *address, bool listening)
{
    size_t colons = 0;
    size_t host_n = 0; /* up to the last colon */
    ASSERT(address != NULL);
    for (size_t i = 0; address[i] != 0; i++) {
        if (is_foreign(address[i])) {
            return false;
        }
        if (address[i] == ':') {
            colons++;
            host_n = i;
        }
    }
    if (colons == 0 || host_n > HOST_BYTES_MAX || (host_n == 0 && !listening)) {
        return false;
    }
    if (colons > 1 && (address[0] != '[' || address[host_n - 1] != ']')) {
        return false;
    }
    return port_ok(address + host_n + 1, listening);
}
