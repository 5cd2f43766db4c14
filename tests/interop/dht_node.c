/*
 * tests/interop/dht_node.c - one DHT node on a UDP socket of 127.0.0.1, steered by lines on stdin, for dht_libtorrent.py.
 *
 * Prints "port N"; then answers each command with one line:
 *   join PORT | good | announce HEX PORT | peers HEX | put_immutable TEXT | put_mutable SEED SALT SEQ TEXT
 *   get HEX SALT | quit
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "dht/dht.h"

static int udp = -1;
static struct dht *dht;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void send_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(to->port)};
    (void)ctx;
    memcpy(&sa.sin_addr, to->ip, 4);
    if (to->family == 4 && sendto(udp, bytes, n, 0, (struct sockaddr *)&sa, sizeof sa) < 0)
        perror("sendto");
}

static void receive(void)
{
    uint8_t bytes[2048];
    struct sockaddr_in sa;
    socklen_t n_sa = sizeof sa;
    ssize_t n = recvfrom(udp, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&sa, &n_sa);
    if (n < 0)
        return;
    struct addr from = {.family = 4, .port = ntohs(sa.sin_port)};
    memcpy(from.ip, &sa.sin_addr, 4);
    dht_datagram(dht, now(), &from, bytes, (size_t)n);
}

static void say_stored(void *arg, uint64_t now_us, size_t n)
{
    (void)arg;
    (void)now_us;
    printf("stored %zu\n", n);
}

static void say_peers(void *arg, uint64_t now_us, const struct addr *peer, size_t n)
{
    char text[ADDR_TEXT_BYTES];
    (void)arg;
    (void)now_us;
    printf("peers");
    for (size_t i = 0; i < n; i++)
        printf(" %s", addr_text(&peer[i], text));
    printf("\n");
}

static void say_item(void *arg, uint64_t now_us, const struct dht_item *item)
{
    (void)arg;
    (void)now_us;
    if (item)
        printf("item %llu %.*s\n", (unsigned long long)item->seq, (int)item->n_v, item->v);
    else
        printf("item none\n");
}

static void set_value(struct dht_item *item, const char *text)
{
    item->n_v = (size_t)snprintf((char *)item->v, sizeof item->v, "%zu:%s", strlen(text), text);
}

static void put_item(struct dht_item *item)
{
    char hex[2 * DHT_ID_BYTES + 1];
    struct dht_id target = dht_item_target(item);
    text_hex(hex, target.byte, sizeof target.byte);
    printf("target %s\n", hex);
    dht_put(dht, now(), item, say_stored, NULL);
}

static void put_mutable(const char *seed_hex, const char *salt, unsigned long long seq, const char *text)
{
    struct dht_item item = {.is_mutable = true, .seq = seq, .n_salt = strlen(salt)};
    uint8_t seed[KEY_SEED_BYTES];
    struct key *key;
    if (!text_unhex(seed, sizeof seed, seed_hex) || key_new(seed, &key) != 0)
        exit(2);
    memcpy(item.salt, salt, item.n_salt);
    set_value(&item, text);
    dht_item_sign(&item, key);
    key_free(key);
    put_item(&item);
}

static void obey(const char *line)
{
    char a[128] = "", b[64] = "", c[512] = "";
    unsigned long long seq;
    unsigned port;
    struct dht_id id;
    if (sscanf(line, "join %u", &port) == 1) {
        struct addr to = {.family = 4, .ip = {127, 0, 0, 1}, .port = (uint16_t)port};
        dht_join(dht, now(), &to);
        printf("ok\n");
    } else if (strncmp(line, "good", 4) == 0) {
        printf("good %zu\n", dht_n_good(dht));
    } else if (sscanf(line, "announce %127s", a) == 1 && text_unhex(id.byte, sizeof id.byte, a)) {
        dht_announce_peer(dht, now(), &id, say_stored, NULL);
    } else if (sscanf(line, "peers %127s", a) == 1 && text_unhex(id.byte, sizeof id.byte, a)) {
        dht_get_peers(dht, now(), &id, say_peers, NULL);
    } else if (sscanf(line, "put_immutable %511s", c) == 1) {
        struct dht_item item = {0};
        set_value(&item, c);
        put_item(&item);
    } else if (sscanf(line, "put_mutable %127s %63s %llu %511s", a, b, &seq, c) == 4) {
        put_mutable(a, b, seq, c);
    } else if (sscanf(line, "get %127s %63s", a, b) >= 1 && text_unhex(id.byte, sizeof id.byte, a)) {
        dht_get(dht, now(), &id, b, strlen(b), say_item, NULL);
    } else {
        exit(strncmp(line, "quit", 4) == 0 ? 0 : 2);
    }
}

static void run(void)
{
    struct pollfd fds[2] = {{.fd = udp, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    char line[1024];
    for (;;) {
        uint64_t at = dht_deadline(dht), t = now();
        int wait_ms = at <= t ? 0 : at - t > 1000000 ? 1000 : (int)((at - t) / 1000) + 1;
        if (poll(fds, 2, wait_ms) < 0)
            exit(2);
        if (fds[0].revents)
            receive();
        if (fds[1].revents) {
            if (!fgets(line, sizeof line, stdin))
                exit(0);
            obey(line);
        }
        dht_tick(dht, now());
        fflush(stdout);
    }
}

int main(void)
{
    static const struct io_ops ops = {.datagram = send_datagram};
    struct io io = {&ops, NULL};
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n_sa = sizeof sa;
    uint8_t seed[KEY_SEED_BYTES] = {(uint8_t)getpid(), (uint8_t)(getpid() >> 8)};
    struct key *key;
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    if (udp < 0 || bind(udp, (struct sockaddr *)&sa, sizeof sa) < 0 || getsockname(udp, (struct sockaddr *)&sa, &n_sa) < 0 ||
        key_new(seed, &key) != 0)
        return 2;
    struct dht_config config = {.key = key, .port = ntohs(sa.sin_port), .seed = now()};
    if (dht_new(&config, &io, now(), &dht) != 0)
        return 2;
    setvbuf(stdin, NULL, _IONBF, 0);
    printf("port %u\n", config.port);
    fflush(stdout);
    run();
}
