/**
 * net/nest.h - many datagram machines in one process: a UDP socket each, and a few threads for all of them.
 *
 * net.h drives one machine with everything it could ask for; here a thousand nodes share a thread, for benchmarks and for tools that
 * want a swarm of real ones.  A *place* is a socket, an io and a machine; it belongs to one thread, where everything happens
 * that concerns it (places take the threads in turn).  A thread waits for all its sockets at once, takes datagrams in
 * batches (recvmmsg), sends what came of them in one call (sendmmsg), and finds the next deadline on top of a heap: no
 * event costs more because there are more places.
 *
 * There are datagrams only: a link that is opened goes down at once with HANSE_EUNSUPPORTED, and work is done on the spot.
 */
#ifndef NET_NEST_H
#define NET_NEST_H

#include "base/io.h"

struct nest;

/** Raises the limit on open files to what `n_places` sockets take.  HANSE_EFULL (logged with the remedy) when it must not. */
HANSE_MUST_USE int nest_new(size_t n_places, unsigned n_threads, struct nest **out);

/** Ends the threads and closes the sockets.  The machines are then the caller's alone, to be freed before or after. */
void nest_free(struct nest *nest);

/** Binds the socket of another place, to any port of the IP address of `at`; datagrams wait until a machine sits there.
 * Gives places the numbers 0, 1, ...  One thread at a time.  HANSE_EFULL, HANSE_EINVAL, HANSE_EIO; logged. */
HANSE_MUST_USE int nest_bind(struct nest *nest, const struct addr *at, size_t *place);

struct addr nest_address(const struct nest *nest, size_t place);

/** The effects, for the constructor of the place's machine. */
const struct io *nest_io(const struct nest *nest, size_t place);

/** Has `call` run in the thread of a place, between events; those of one thread keep their order.  Any thread.  Nothing is run when
 * the nest is freed before.  Keeps `arg`.  HANSE_ENOMEM. */
HANSE_MUST_USE int nest_call(struct nest *nest, size_t place, void (*call)(void *arg, uint64_t now_us), void *arg);

/** Seats a machine, which is kept; there is no IO_START.  Only from a call in its thread (nest_call()). */
void nest_seat(struct nest *nest, size_t place, const struct io_machine *machine);

/** Takes the machine away, closes the socket and forgets what waits there: to others the place fell silent.  Only from a call in its
 * thread, and not from inside an event of the machine. */
void nest_clear(struct nest *nest, size_t place);

/** Since the start, of all places; while nothing runs. */
struct nest_stats {
    uint64_t n_datagrams_in, n_datagrams_out, n_lost_out; /* lost: the kernel took them not */
    uint64_t n_waits, n_receives, n_sends;                /* system calls */
};
struct nest_stats nest_stats(const struct nest *nest);

#endif
