/* net/listener.c - who may come in. */
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "net/loop.h"

/* One address may not take all the places; several peers behind one NAT, or all of them on one machine, are welcome. */
#define FROM_ONE_MAX 32
#define FROM_LOOPBACK_MAX 512
#define NOT_UP_BESIDE_MAX 64 /* from one subnet */

/* Where there is no room, who has not shown yet that it means it gives way to who comes later, in the crowd that fills the room. */
const char *listener_refuses(struct net *net, const struct addr *from)
{
    struct link_count count = link_count_incoming(net, from);
    size_t from_max = addr_is_loopback(from) ? FROM_LOOPBACK_MAX : FROM_ONE_MAX;
    bool is_local = addr_is_local(from);
    if (count.n_from > from_max)
        return link_evict(net, LINK_CROWD_IP, from) ? NULL : "there are many links from its address already";
    if (count.n_not_up_beside > NOT_UP_BESIDE_MAX && !is_local)
        return link_evict(net, LINK_CROWD_SUBNET, from) ? NULL : "too many handshakes are under way with its neighbours";
    if (count.n_not_up > LINK_NOT_UP_MAX)
        return link_evict(net, LINK_CROWD_ANY, from) ? NULL : "too many handshakes are under way";
    if (count.n > net->config.n_incoming_max)
        return link_evict(net, LINK_CROWD_ANY, from) ? NULL : "there are as many links as we take in";
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
