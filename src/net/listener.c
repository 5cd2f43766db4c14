/* net/listener.c - who may come in. */
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "net/loop.h"

/* One address may not take all the places; several peers behind one NAT, or all of them on one machine, are welcome. */
#define FROM_ONE_MAX 32
#define FROM_LOOPBACK_MAX 512
#define NOT_UP_MAX 256 /* each costs a handshake's memory, and soon its arithmetic */

const char *listener_refuses(const struct net *net, const struct addr *from)
{
    struct link_count count = link_count_incoming(net, from);
    size_t from_max = addr_is_loopback(from) ? FROM_LOOPBACK_MAX : FROM_ONE_MAX;
    if (count.n > net->config.n_incoming_max)
        return "there are as many links as we take in";
    if (count.n_from > from_max)
        return "there are many links from its address already";
    if (count.n_not_up > NOT_UP_MAX)
        return "too many handshakes are under way";
    return NULL;
}

static void on_connection(uv_stream_t *server, int status)
{
    if (status < 0)
        log_debug("listener: %s", uv_strerror(status));
    else
        link_accept(server->data, server);
}

int listener_start(struct net *net, int fd)
{
    if (uv_tcp_init(&net->loop, &net->listener)) {
        close(fd);
        return HANSE_ENOMEM;
    }
    net->listener.data = net;
    int failed = uv_tcp_open(&net->listener, fd);
    if (failed)
        close(fd);
    else
        failed = uv_listen((uv_stream_t *)&net->listener, 256, on_connection);
    net->has_listener = true;
    if (failed)
        log_error("listener: %s", uv_strerror(failed));
    return failed ? HANSE_EIO : 0;
}
