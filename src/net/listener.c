/* net/listener.c - who may come in. */
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "net/loop.h"

/* One that goes makes room in all that it counts in, so this ends soon. */
const char *listener_refuses(struct net *net, io_link newcomer)
{
    for (;;) {
        io_link goes;
        struct crowd_member *member = malloc(net->links.n_used * sizeof *member);
        if (!member)
            return "there is no memory to look for room";
        size_t n = link_incoming(net, member);
        const char *why = crowd_refuses(member, n, newcomer, net->config.n_incoming_max, net_now_us(), &goes);
        free(member);
        if (why || !goes)
            return why;
        link_make_room(net, goes);
    }
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
