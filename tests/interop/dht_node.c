/*
 * tests/interop/dht_node.c - one DHT node on UDP sockets, steered by lines on stdin, for the tests beside it.
 *
 *   dht_node [-r] ADDR:PORT [ADDR:PORT]     a v4 and a v6 address at most; port 0 takes any; -r: read-only (BEP 43)
 *
 * Prints "port N" of the first; then answers each command with one line (put: two):
 *   join ADDR:PORT | good | id | external | private ADDR:PORT | sizes | quit
 *   announce HEX | peers HEX | put_immutable TEXT | put_mutable SEED SALT SEQ TEXT [CAS] | get HEX SALT | publish HEX TEXT | publish_hex HEX HEX | read HEX
 * A put says how many took it, how many refused it since they hold another than CAS, or a newer one, and the highest SEQ that is held.
 * "private" counts the queries of our own kind that were sent to an address, "sizes" tells the longest transaction id, token and list
 * of nodes that were sent to anybody.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "dht/dht.h"
#include "dht/krpc.h"

#define ASKED_MAX 64

static int udp[2] = {-1, -1}; /* v4, v6 */
static struct dht *dht;
static struct {
    struct addr addr;
    unsigned n;
} asked[ASKED_MAX]; /* privately */
static size_t n_privately, longest_tid, longest_token, longest_nodes;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* -- Sockets ------------------------------------------------------------------------------------------- */

static socklen_t to_socket(const struct addr *addr, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (addr->family == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)out;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(addr->port);
        memcpy(&v4->sin_addr, addr->ip, 4);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(addr->port);
    memcpy(&v6->sin6_addr, addr->ip, 16);
    return sizeof *v6;
}

static struct addr from_socket(const struct sockaddr_storage *from)
{
    struct addr addr = {.family = from->ss_family == AF_INET ? 4 : 6};
    if (addr.family == 4) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        memcpy(addr.ip, &v4->sin_addr, 4);
        addr.port = ntohs(v4->sin_port);
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        memcpy(addr.ip, &v6->sin6_addr, 16);
        addr.port = ntohs(v6->sin6_port);
    }
    return addr;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* What other programs would mind is counted where it leaves. */
static void look_at(const struct addr *to, const void *bytes, size_t n)
{
    struct dht_message m;
    if (dht_krpc_decode(&m, bytes, n) != 0)
        exit(3);
    if (m.kind == DHT_QUERY)
        longest_tid = larger(longest_tid, m.tid.n);
    longest_token = larger(longest_token, m.kind == DHT_REPLY ? m.token.n : 0);
    longest_nodes = larger(longest_nodes, larger(m.nodes.n / 26, m.nodes6.n / 38));
    if (m.kind != DHT_QUERY || (m.method != DHT_HANSE_GET && m.method != DHT_HANSE_PUT))
        return;
    size_t i = 0;
    while (i < n_privately && !addr_equal(&asked[i].addr, to))
        i++;
    if (i == ASKED_MAX)
        return;
    asked[i].addr = *to;
    asked[i].n++;
    n_privately = larger(n_privately, i + 1);
}

static void send_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    struct sockaddr_storage name;
    socklen_t n_name = to_socket(to, &name);
    int fd = udp[to->family == 6];
    (void)ctx;
    look_at(to, bytes, n);
    if (fd >= 0)
        (void)!sendto(fd, bytes, n, 0, (struct sockaddr *)&name, n_name); /* to nobody there: as lost on the way */
}

static void receive(int fd)
{
    uint8_t bytes[2048];
    struct sockaddr_storage name;
    socklen_t n_name = sizeof name;
    ssize_t n = recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&name, &n_name);
    if (n < 0)
        return;
    struct addr from = from_socket(&name);
    dht_datagram(dht, now(), &from, bytes, (size_t)n);
}

/* Returns the port. */
static uint16_t open_socket(struct addr addr)
{
    struct sockaddr_storage name;
    socklen_t n_name = to_socket(&addr, &name);
    int only = 1, fd = socket(addr.family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
    if (fd < 0 || (addr.family == 6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0) ||
        bind(fd, (struct sockaddr *)&name, n_name) < 0 || getsockname(fd, (struct sockaddr *)&name, &n_name) < 0) {
        perror("bind");
        exit(2);
    }
    udp[addr.family == 6] = fd;
    return from_socket(&name).port;
}

/* -- Answers ------------------------------------------------------------------------------------------- */

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

static void say_entries(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    (void)arg;
    (void)now_us;
    (void)n_asked;
    printf("read");
    for (size_t i = 0; i < n; i++)
        printf(" %.*s", (int)entry[i].n_bytes, (const char *)entry[i].bytes);
    printf("\n");
}

static void say_hex(const char *word, const struct dht_id *id)
{
    char hex[2 * DHT_ID_BYTES + 1];
    text_hex(hex, id->byte, sizeof id->byte);
    printf("%s %s\n", word, hex);
}

static void say_external(void)
{
    struct addr addr;
    char text[ADDR_TEXT_BYTES] = "none";
    if (dht_external(dht, &addr))
        addr_text(&addr, text);
    printf("external %s\n", text);
}

static void say_private(const struct addr *addr)
{
    unsigned n = 0;
    for (size_t i = 0; i < n_privately; i++)
        n += addr_equal(&asked[i].addr, addr) ? asked[i].n : 0;
    printf("private %u\n", n);
}

/* -- Commands ------------------------------------------------------------------------------------------ */

static void set_value(struct dht_item *item, const char *text)
{
    item->n_v = (size_t)snprintf((char *)item->v, sizeof item->v, "%zu:%s", strlen(text), text);
}

static void say_put(void *arg, uint64_t now_us, const struct dht_put_result *result)
{
    (void)arg, (void)now_us;
    printf("stored %zu %zu %zu %" PRIu64 "\n", result->n_stored, result->n_other, result->n_newer, result->held_seq);
}

static void put_item(struct dht_item *item, const uint64_t *cas)
{
    struct dht_id target = dht_item_target(item);
    say_hex("target", &target);
    dht_put(dht, now(), item, cas, say_put, NULL);
}

static void put_mutable(const char *seed_hex, const char *salt, unsigned long long seq, const char *text, const uint64_t *cas)
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
    put_item(&item, cas);
}

static struct addr addr_of(const char *text)
{
    struct addr addr;
    if (addr_parse(&addr, text) != 0)
        exit(2);
    return addr;
}

static bool take_id(struct dht_id *id, const char *hex)
{
    return text_unhex(id->byte, sizeof id->byte, hex);
}

/* False: it is none of these. */
static bool obey_look(const char *line)
{
    char a[128] = "";
    struct dht_id own = dht_own_id(dht);
    if (strncmp(line, "good", 4) == 0)
        printf("good %zu\n", dht_n_good(dht));
    else if (strncmp(line, "id", 2) == 0)
        say_hex("id", &own);
    else if (strncmp(line, "external", 8) == 0)
        say_external();
    else if (strncmp(line, "sizes", 5) == 0)
        printf("sizes %zu %zu %zu\n", longest_tid, longest_token, longest_nodes);
    else if (sscanf(line, "private %127s", a) == 1)
        say_private(&(struct addr[]){addr_of(a)}[0]);
    else
        return false;
    return true;
}

/* The directory is ours alone.  False: it is none of these. */
static bool obey_directory(const char *line)
{
    static const struct addr as_seen;
    char a[128] = "", c[512] = "";
    uint8_t bytes[256];
    struct dht_id id;
    if (sscanf(line, "publish %127s %511s", a, c) == 2 && take_id(&id, a))
        dht_publish(dht, now(), &id, &as_seen, c, strlen(c), say_stored, NULL);
    else if (sscanf(line, "publish_hex %127s %511s", a, c) == 2 && take_id(&id, a) && text_unhex(bytes, strlen(c) / 2, c))
        dht_publish(dht, now(), &id, &as_seen, bytes, strlen(c) / 2, say_stored, NULL);
    else if (sscanf(line, "read %127s", a) == 1 && take_id(&id, a))
        dht_read(dht, now(), &id, say_entries, NULL);
    else
        return false;
    return true;
}

static void obey(const char *line)
{
    char a[128] = "", b[64] = "", c[512] = "";
    unsigned long long seq;
    uint64_t cas;
    int n;
    struct dht_id id;
    if (obey_look(line) || obey_directory(line))
        return;
    if (sscanf(line, "join %127s", a) == 1) {
        struct addr to = addr_of(a);
        dht_join(dht, now(), &to);
        printf("ok\n");
    } else if (sscanf(line, "announce %127s", a) == 1 && take_id(&id, a)) {
        dht_announce_peer(dht, now(), &id, say_stored, NULL);
    } else if (sscanf(line, "peers %127s", a) == 1 && take_id(&id, a)) {
        dht_get_peers(dht, now(), &id, say_peers, NULL);
    } else if (sscanf(line, "put_immutable %511s", c) == 1) {
        struct dht_item item = {0};
        set_value(&item, c);
        put_item(&item, NULL);
    } else if ((n = sscanf(line, "put_mutable %127s %63s %llu %511s %" SCNu64, a, b, &seq, c, &cas)) >= 4) {
        put_mutable(a, b, seq, c, n == 5 ? &cas : NULL);
    } else if (sscanf(line, "get %127s %63s", a, b) >= 1 && take_id(&id, a)) {
        dht_get(dht, now(), &id, b, strlen(b), say_item, NULL);
    } else {
        exit(strncmp(line, "quit", 4) == 0 ? 0 : 2);
    }
}

static void run(void)
{
    struct pollfd fds[3] = {
        {.fd = STDIN_FILENO, .events = POLLIN}, {.fd = udp[0], .events = POLLIN}, {.fd = udp[1], .events = POLLIN}};
    char line[1024];
    for (;;) {
        uint64_t at = dht_deadline(dht), t = now();
        int wait_ms = at <= t ? 0 : at - t > 1000000 ? 1000 : (int)((at - t) / 1000) + 1;
        if (poll(fds, 3, wait_ms) < 0)
            exit(2);
        for (int i = 0; i < 2; i++)
            if (fds[1 + i].revents)
                receive(udp[i]);
        if (fds[0].revents) {
            if (!fgets(line, sizeof line, stdin))
                exit(0);
            obey(line);
        }
        dht_tick(dht, now());
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    static const struct io_ops ops = {.datagram = send_datagram};
    struct io io = {&ops, NULL};
    uint8_t seed[KEY_SEED_BYTES];
    struct dht_config config = {.seed = now()};
    struct key *key;
    int first = argc > 1 && strcmp(argv[1], "-r") == 0 ? 2 : 1;
    config.is_read_only = first == 2;
    for (int i = first; i < argc; i++) {
        uint16_t port = open_socket(addr_of(argv[i]));
        config.port = config.port ? config.port : port;
    }
    if (first == argc || getentropy(seed, sizeof seed) != 0 || key_new(seed, &key) != 0)
        return 2;
    config.key = key;
    if (dht_new(&config, &io, now(), &dht) != 0)
        return 2;
    setvbuf(stdin, NULL, _IONBF, 0);
    printf("port %u\n", config.port);
    fflush(stdout);
    run();
}
