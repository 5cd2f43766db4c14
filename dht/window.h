/**
 * dht/window.h - how many questions of ours may be in the air at once.
 * Jacobson, "Congestion avoidance and control", SIGCOMM 1988, for walks: no connection loses what is lost, but all that we ask.
 *
 * It grows by one for each answer until it was cut, for a minute after that by one for each window of answers, and only while it is
 * used.  What counts for and against it are the answers and the silence of those who are expected to answer: nodes of our table that
 * were heard of lately and were not late since.  Others of whom we were told are silent for reasons of their own, or on purpose, and a neighbour that dies is silent once.  A share of silence is the weather of a network; more of it halves
 * the window, once for all that was asked since the last time.
 */
#ifndef DHT_WINDOW_H
#define DHT_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DHT_WINDOW_FIRST 64
#define DHT_WINDOW_MIN 8
#define DHT_WINDOW_MAX 256                            /* all that 32 walks have in the air, and a socket buffer holds */
#define DHT_WINDOW_LATELY_US ((uint64_t)60 * 1000000) /* who answered within it is expected to answer */

struct dht_window {
    uint32_t size;
    uint32_t grow_to;          /* so far one for each answer */
    uint32_t n_grown;          /* answers towards the next step after that */
    uint32_t n_kept, n_broken; /* questions answered, and not, by those expected to; both halve when they are many */
    uint64_t cut_us;           /* what was asked before says nothing any more */
};

void dht_window_init(struct dht_window *window, uint64_t now_us);

/** An answer in time to what was asked at `sent_us`, while `n_air` were in the air. */
void dht_window_answered(struct dht_window *window, uint64_t sent_us, size_t n_air, bool is_expected);

/** What was asked at `sent_us` of somebody who is expected to answer is late. */
void dht_window_late(struct dht_window *window, uint64_t now_us, uint64_t sent_us);

#endif
