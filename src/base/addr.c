#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* "255.255.255.255" and "[" forty-five "]" both fit; what is longer is no address. */
#define HOST_BYTES 48

/* Splits "host:port" at the last colon; a v6 host stands in brackets, which are dropped. */
static bool split(const char *text, char host[HOST_BYTES], const char **port, bool *is_v6)
{
    const char *colon = strrchr(text, ':');
    if (!colon)
        return false;
    const char *start = text, *end = colon;
    *is_v6 = *start == '[';
    if (*is_v6) {
        if (end == text || end[-1] != ']')
            return false;
        start++;
        end--;
    }
    if (end <= start || end - start >= HOST_BYTES)
        return false;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = 0;
    *port = colon + 1;
    return true;
}

int addr_parse(struct addr *out, const char *text)
{
    char host[HOST_BYTES];
    const char *port_text;
    bool is_v6;
    uint64_t port;
    if (!split(text, host, &port_text, &is_v6) || !text_u64(&port, port_text, 0, UINT16_MAX))
        return HANSE_EINVAL;
    struct addr addr = {.family = is_v6 ? 6 : 4, .port = (uint16_t)port};
    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, host, addr.ip) != 1)
        return HANSE_EINVAL;
    *out = addr;
    return 0;
}

const char *addr_text(const struct addr *addr, char out[ADDR_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN];
    if (addr->family == 4 && inet_ntop(AF_INET, addr->ip, host, sizeof host))
        snprintf(out, ADDR_TEXT_BYTES, "%s:%u", host, addr->port);
    else if (addr->family == 6 && inet_ntop(AF_INET6, addr->ip, host, sizeof host))
        snprintf(out, ADDR_TEXT_BYTES, "[%s]:%u", host, addr->port);
    else
        snprintf(out, ADDR_TEXT_BYTES, "none");
    return out;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

/* All of the address but its last byte is 0. */
static bool is_zero_but_last(const struct addr *addr)
{
    static const uint8_t zero[15];
    return memcmp(addr->ip, zero, sizeof zero) == 0;
}

bool addr_is_loopback(const struct addr *addr)
{
    if (addr->family == 4)
        return addr->ip[0] == 127;
    return addr->family == 6 && is_zero_but_last(addr) && addr->ip[15] == 1;
}

bool addr_is_unspecified(const struct addr *addr)
{
    return addr->family != 0 && is_zero_but_last(addr) && addr->ip[15] == 0;
}

/* RFC 1918 private and RFC 3927 link-local. */
static bool is_local_v4(const uint8_t ip[4])
{
    return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) || (ip[0] == 192 && ip[1] == 168) ||
           (ip[0] == 169 && ip[1] == 254);
}

/* RFC 4193 unique local fc00::/7 and RFC 4291 link-local fe80::/10. */
static bool is_local_v6(const uint8_t ip[16])
{
    return (ip[0] & 0xfe) == 0xfc || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80);
}

bool addr_is_local(const struct addr *addr)
{
    if (addr_is_loopback(addr))
        return true;
    if (addr->family == 4)
        return is_local_v4(addr->ip);
    return addr->family == 6 && is_local_v6(addr->ip);
}

bool addr_is_unicast(const struct addr *addr)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (addr->family == 4)
        return addr->ip[0] != 0 && addr->ip[0] < 224;
    return addr->family == 6 && !addr_is_unspecified(addr) && addr->ip[0] != 0xff && memcmp(addr->ip, mapped, sizeof mapped) != 0;
}

size_t addr_compact(const struct addr *addr, uint8_t out[18])
{
    size_t n = addr->family == 4 ? 4 : 16;
    memcpy(out, addr->ip, n);
    out[n] = (uint8_t)(addr->port >> 8);
    out[n + 1] = (uint8_t)addr->port;
    return n + 2;
}

bool addr_from_compact(struct addr *out, const uint8_t *bytes, size_t n)
{
    if (n != 6 && n != 18)
        return false;
    struct addr addr = {.family = n == 6 ? 4 : 6};
    memcpy(addr.ip, bytes, n - 2);
    addr.port = (uint16_t)(bytes[n - 2] << 8 | bytes[n - 1]);
    *out = addr;
    return true;
}
