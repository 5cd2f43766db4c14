/* net/udp.c - the datagram socket. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/address.h"
#include "net/loop.h"

#define CHUNK_BYTES ((size_t)64 << 10) /* libuv cuts the buffer into as many datagrams of this size as fit */
#define N_CHUNKS 8
#define SOCKET_BYTES (1 << 20) /* a burst of answers to a lookup must not overflow */

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *buf)
{
    (void)wanted;
    struct net *net = handle->data;
    *buf = uv_buf_init((char *)net->udp_in, N_CHUNKS * CHUNK_BYTES);
}

static void on_datagram(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from, unsigned flags)
{
    struct net *net = udp->data;
    if (n < 0) {
        log_debug("udp: %s", uv_strerror((int)n)); /* an ICMP error of an earlier datagram, most likely */
        return;
    }
    if (!from)
        return; /* nothing more to read, or the buffer may be used again */
    loop_count(&net->n_datagrams_in, 1);
    loop_count(&net->n_bytes_in, (uint64_t)n);
    if (n == 0 || n > IO_DATAGRAM_MAX || flags & UV_UDP_PARTIAL)
        return;
    struct io_event event = {.kind = IO_DATAGRAM, .from = address_from_socket(from)};
    event.bytes = (const uint8_t *)buf->base;
    event.n_bytes = (size_t)n;
    loop_event(net, &event);
}

int udp_start(struct net *net, int fd)
{
    int size = SOCKET_BYTES;
    net->udp_in = malloc(N_CHUNKS * CHUNK_BYTES);
    if (!net->udp_in || uv_udp_init_ex(&net->loop, &net->udp, AF_UNSPEC | UV_UDP_RECVMMSG)) {
        close(fd);
        return HANSE_ENOMEM;
    }
    net->udp.data = net;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    int failed = uv_udp_open(&net->udp, fd);
    if (failed) {
        close(fd);
        log_error("udp: %s", uv_strerror(failed));
        return HANSE_EIO;
    }
    return uv_udp_recv_start(&net->udp, on_alloc, on_datagram) ? HANSE_EIO : 0;
}

void udp_send(struct net *net, const struct addr *to, const void *bytes, size_t n)
{
    struct sockaddr_storage name;
    if ((to->family == 6 && !net->is_udp_v6) || address_to_socket(to, net->is_udp_v6, &name) == 0)
        return;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)n);
    if (uv_udp_try_send(&net->udp, &buf, 1, (struct sockaddr *)&name) < 0)
        return; /* a full socket loses it, as any router may */
    loop_count(&net->n_datagrams_out, 1);
    loop_count(&net->n_bytes_out, n);
}
