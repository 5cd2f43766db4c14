/**
 * node/host.h - a host: keeps experts, answers forward and backward, updates, checkpoints, announces.
 *
 * A step machine (base/io.h).  Requests of all trainers for one expert wait in one queue in order of arrival; a piece of work
 * takes what is queued for an expert, batches neighbours of the same kind into one product, and applies updates as they
 * fall due, so the order of the queue is the order of the log.  Different experts run in parallel; one expert never does.
 * Requests past their deadline are answered LATE without computing; a full queue answers BUSY at once.
 * The rows of a forward are kept for its backward, and the answer of a backward for a retry with the same (peer, call),
 * within a fixed budget of bytes; the oldest go first.
 *
 * Experts live where `kernels` keep their tensors; with a GPU's (kernels/device.h) so do the rows, in a budget of their own.  A GPU that has no
 * memory for another expert is no error as long as it has one; one that fails ends the host by its own decision: it withdraws
 * its claims, saves nothing more, and stops with HANSE_EDEVICE.
 */
#ifndef NODE_HOST_H
#define NODE_HOST_H

#include "base/disk.h"
#include "base/io.h"
#include "experts/checkpoint.h"
#include "experts/expert.h"
#include "kernels/kernels.h"
#include "model/run.h"
#include "node/meeting.h"
#include "router/message.h"

struct host;

#define HOST_JOIN_MAX 64

/* Workers to start for a host on a GPU, however few cores there are.  Each drives one expert through a queue of its own, and mostly waits: so
 * while some compute, others' rows and answers travel, and kernels too small for the whole chip run side by side. */
#define HOST_DEVICE_WORKERS 8

struct host_config {
    const struct run *run;         /* kept */
    const struct kernels *kernels; /* kept */
    struct team *team;             /* whose idle threads help with an expert's work; kept; NULL: none do */
    const struct key *key;         /* kept */
    struct addr listen;            /* where we are reached, port included; ip unspecified: as others see us */
    struct addr join[HOST_JOIN_MAX];
    size_t n_join;
    const struct meeting_routers *mainline; /* where to meet others in public; kept; NULL: nowhere */
    const char *experts;                    /* "auto", or "L0.0-7,L1.3"; borrowed by host_new() */
    enum message_hardware hardware;         /* what others are told that we compute with */
    uint64_t seed;
    size_t works_max;         /* pieces of work handed out at once; best as many as workers, since what waits can still join a
                                 batch; 0: the default */
    size_t queue_slots_max;   /* token-slots waiting per expert before BUSY; 0: the default */
    size_t kept_bytes_max;    /* rows and answers kept; 0: the default */
    size_t device_bytes_max;  /* of a GPU's memory for rows, kept or on their way; 0: a quarter of what is free at the start */
    bool quiet;               /* no lines but warnings (the simulator) */
    void (*ready)(void *arg); /* called once: listening, joined (or alone), announced */
    void *ready_arg;
};

/** The class of hardware that a set of kernels runs on. */
enum message_hardware host_hardware(const struct kernels *kernels);

/** The settings of every expert of a run. */
struct expert_config host_expert_config(const struct run *run);

/**
 * Keeps `io` and `disk`.  Experts with a checkpoint on the disk are taken from it, the others start at version 0.
 * HANSE_EINVAL for a bad list of experts, HANSE_ERUN when the disk holds another run, HANSE_ECORRUPT when a checkpoint
 * does not verify (never silently replaced), HANSE_ENOMEM, HANSE_EDEVICE; all logged with the remedy.
 */
HANSE_MUST_USE int host_new(const struct host_config *config, const struct io *io, const struct disk *disk, struct host **out);
void host_free(struct host *host);
struct io_machine host_machine(struct host *host);

struct host_stats {
    uint64_t n_forward_slots, n_backward_slots, n_updates, n_busy, n_late, n_reject, n_gone, n_stale, n_checkpoints;
    size_t n_experts, n_links, kept_bytes, device_bytes; /* device: of rows */
    size_t n_nodes;                                      /* of the DHT that answered lately */
    bool is_ready;
};
struct host_stats host_stats(const struct host *host);

/** True when this host keeps no expert since others keep all of the run; with experts "auto" it takes over what they leave. */
bool host_is_spare(const struct host *host);

/**
 * The same answers without a network, for `hanse train --local`: handles one request message and appends the reply
 * message to `reply`, computing at once in the calling thread.  HANSE_EDEVICE: the device failed, and there will be no more answers.
 */
HANSE_MUST_USE int host_request(struct host *host, uint64_t now_us, const struct peer_id *caller, const void *bytes, size_t n,
                                struct buf *reply);

/** Saves every expert that changed since its last checkpoint, in the calling thread. */
HANSE_MUST_USE int host_save(struct host *host, uint64_t now_us);

#endif
