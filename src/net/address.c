/* net/address.c - binding the two sockets of a peer, and saying plainly why not. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/address.h"

#define BACKLOG 256
#define ANY_PORT_TRIES 32 /* port 0: a port free for TCP may be taken for UDP */

socklen_t address_to_socket(const struct addr *addr, bool as_v6, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (addr->family == 4 && !as_v6) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)out;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(addr->port);
        memcpy(&v4->sin_addr, addr->ip, 4);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(addr->port);
    if (addr->family == 6) {
        memcpy(&v6->sin6_addr, addr->ip, 16);
        return sizeof *v6;
    }
    if (addr->family != 4)
        return 0;
    memset(v6->sin6_addr.s6_addr + 10, 0xff, 2);
    memcpy(v6->sin6_addr.s6_addr + 12, addr->ip, 4);
    return sizeof *v6;
}

uint64_t address_subnet(const struct addr *addr)
{
    uint64_t name = addr->family;
    for (size_t i = 0; i < (addr->family == 4 ? 3 : 6); i++)
        name = name << 8 | addr->ip[i];
    return name;
}

struct addr address_from_socket(const struct sockaddr *from)
{
    struct addr addr = {0};
    if (from->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        addr.family = 4;
        addr.port = ntohs(v4->sin_port);
        memcpy(addr.ip, &v4->sin_addr, 4);
    } else if (from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        bool is_mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
        addr.family = is_mapped ? 4 : 6;
        addr.port = ntohs(v6->sin6_port);
        memcpy(addr.ip, v6->sin6_addr.s6_addr + (is_mapped ? 12 : 0), is_mapped ? 4 : 16);
    }
    return addr;
}

/* A socket bound to `at`, whose port is filled in when it was 0; -1 with errno. */
static int bind_one(struct addr *at, int type)
{
    struct sockaddr_storage name;
    socklen_t n = address_to_socket(at, at->family == 6, &name);
    int on = 1, off = 0;
    int fd = socket(name.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    /* TCP: bind again at once after a restart.  Never for UDP, where it would let two processes share the port. */
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->family == 6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, (struct sockaddr *)&name, n) || (type == SOCK_STREAM && listen(fd, BACKLOG)))
        goto fail;
    n = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &n))
        goto fail;
    at->port = address_from_socket((struct sockaddr *)&name).port;
    return fd;
fail:;
    int cause = errno;
    close(fd);
    errno = cause;
    return -1;
}

static int bind_pair(struct addr at, struct address_pair *out)
{
    out->tcp = bind_one(&at, SOCK_STREAM);
    if (out->tcp < 0)
        return -1;
    out->udp = bind_one(&at, SOCK_DGRAM);
    out->at = at;
    if (out->udp >= 0)
        return 0;
    int cause = errno;
    close(out->tcp);
    errno = cause;
    return -1;
}

static int explain(const struct addr *at, unsigned n_ports, int cause)
{
    char text[ADDR_TEXT_BYTES];
    addr_text(at, text);
    switch (cause) {
    case EADDRINUSE:
        if (n_ports > 1)
            log_error(
                "cannot listen on %s: it and the %u ports after it are in use; choose another with --listen or stop the other "
                "processes",
                text, n_ports - 1);
        else
            log_error("cannot listen on %s: the port is in use; choose another with --listen or stop the other process", text);
        return HANSE_EADDRINUSE;
    case EACCES:
    case EPERM:
        log_error("cannot listen on %s: this needs a privilege; choose a port of 1024 or above with --listen", text);
        return HANSE_EACCESS;
    case EADDRNOTAVAIL:
        log_error("cannot listen on %s: the address is not on this machine; choose one that `ip address` shows, or 0.0.0.0, with "
                  "--listen",
                  text);
        return HANSE_EINVAL;
    case EAFNOSUPPORT:
        log_error("cannot listen on %s: this machine has no IPv%u; choose another address with --listen", text, at->family);
        return HANSE_EUNSUPPORTED;
    default:
        log_error("cannot listen on %s: %s", text, strerror(cause));
        return cause == EMFILE || cause == ENFILE ? HANSE_EFULL : HANSE_EIO;
    }
}

int address_listen(const struct addr *listen, unsigned n_ports, struct address_pair *out)
{
    unsigned n_tries = listen->port == 0 ? ANY_PORT_TRIES : n_ports;
    struct addr at = *listen;
    int cause = EADDRINUSE;
    for (unsigned i = 0; i < n_tries && listen->port + i <= UINT16_MAX; i++) {
        at.port = listen->port == 0 ? 0 : (uint16_t)(listen->port + i);
        if (bind_pair(at, out) == 0)
            return 0;
        cause = errno;
        if (cause != EADDRINUSE)
            return explain(&at, 1, cause);
    }
    return explain(listen, n_ports, cause);
}

int address_bind_any(struct address_pair *out)
{
    out->tcp = -1;
    out->at = (struct addr){.family = 6};
    out->udp = bind_one(&out->at, SOCK_DGRAM);
    if (out->udp >= 0)
        return 0;
    out->at = (struct addr){.family = 4};
    out->udp = bind_one(&out->at, SOCK_DGRAM);
    return out->udp >= 0 ? 0 : explain(&out->at, 1, errno);
}

int address_bind_udp(struct addr *at, int *fd)
{
    *fd = bind_one(at, SOCK_DGRAM);
    return *fd >= 0 ? 0 : explain(at, 1, errno);
}
