#include "dht/window.h"

#include <string.h>

#define BROKEN_SHARE 4 /* one of so many may be silent: a link that loses 5 % each way breaks one in ten, and neighbours leave */
#define BROKEN_MIN 8   /* fewer are chance */
#define COUNTED 128    /* of which older ones weigh half */
#define CALM_US ((uint64_t)60 * 1000000) /* so long after a cut its reason is no longer known to hold */

void dht_window_init(struct dht_window *window, uint64_t now_us)
{
    memset(window, 0, sizeof *window);
    window->size = DHT_WINDOW_FIRST;
    window->grow_to = DHT_WINDOW_MAX;
    window->cut_us = now_us;
}

static void forget_half(struct dht_window *window)
{
    if (window->n_kept + window->n_broken < COUNTED)
        return;
    window->n_kept /= 2;
    window->n_broken /= 2;
}

void dht_window_answered(struct dht_window *window, uint64_t sent_us, size_t n_air, bool is_expected)
{
    if (sent_us < window->cut_us)
        return;
    window->n_kept += is_expected;
    forget_half(window);
    if (sent_us - window->cut_us > CALM_US)
        window->grow_to = DHT_WINDOW_MAX;
    if (2 * n_air < window->size || window->size == DHT_WINDOW_MAX)
        return; /* nothing shows that more would do, or more is not wanted */
    if (window->size >= window->grow_to && ++window->n_grown < window->size)
        return;
    window->size++;
    window->n_grown = 0;
}

static void cut(struct dht_window *window, uint64_t now_us)
{
    window->size = window->size / 2 > DHT_WINDOW_MIN ? window->size / 2 : DHT_WINDOW_MIN;
    window->grow_to = window->size;
    window->n_grown = window->n_kept = window->n_broken = 0;
    window->cut_us = now_us;
}

void dht_window_late(struct dht_window *window, uint64_t now_us, uint64_t sent_us)
{
    if (sent_us < window->cut_us)
        return; /* asked through the window that was cut for it */
    window->n_broken++;
    forget_half(window);
    if (window->n_broken >= BROKEN_MIN && window->n_broken * BROKEN_SHARE > window->n_kept + window->n_broken)
        cut(window, now_us);
}
