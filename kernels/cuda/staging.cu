/* kernels/cuda/staging.cu - copies between CPU and GPU by way of pinned memory.
 *
 * A GPU reads and writes the CPU's memory by itself only where it is pinned.  Of other memory CUDA would make a pinned copy as
 * well, but waits for it, so the CPU's copying and the transfer would take turns; here they overlap piece by piece. */
#include "kernels/cuda/device_state.h"

#include <string.h>

#define STAGING_ALIGN ((size_t)64)

static bool is_there(struct staging *s)
{
    if (s->at || s->has_none)
        return s->at;
    cudaError_t err = cudaHostAlloc(&s->at, STAGING_PIECES * STAGING_PIECE_BYTES, cudaHostAllocDefault);
    if (err == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        s->at = NULL;
        s->has_none = true;
        return false;
    }
    cuda_note(err, "pinned memory");
    for (int i = 0; i < STAGING_PIECES && s->at; i++)
        cuda_note(cudaEventCreateWithFlags(&s->sent[i], cudaEventDisableTiming | cudaEventBlockingSync), "an event");
    return s->at && !cuda_has_failed();
}

/* Turns to the next piece, and waits until what was in it has gone. */
static void turn(struct staging *s, cudaStream_t stream)
{
    cuda_note(cudaEventRecord(s->sent[s->now], stream), "an event");
    s->is_under_way[s->now] = true;
    s->now = (s->now + 1) % STAGING_PIECES;
    s->used = 0;
    if (s->is_under_way[s->now])
        cuda_note(cudaEventSynchronize(s->sent[s->now]), "waiting for a copy");
    s->is_under_way[s->now] = false;
}

static void put_and_wait(cudaStream_t stream, void *to, const void *from, size_t n_bytes)
{
    cuda_note(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyHostToDevice, stream), "a copy to the GPU");
    if (!cuda_has_failed())
        cuda_note(cudaStreamSynchronize(stream), "a copy to the GPU");
}

void staging_put(struct staging *s, cudaStream_t stream, void *to, const void *from, size_t n_bytes)
{
    if (!is_there(s)) {
        if (!cuda_has_failed())
            put_and_wait(stream, to, from, n_bytes);
        return;
    }
    for (size_t done = 0, n; done < n_bytes && !cuda_has_failed(); done += n) {
        if (s->used == STAGING_PIECE_BYTES)
            turn(s, stream);
        if (cuda_has_failed())
            return;
        n = n_bytes - done < STAGING_PIECE_BYTES - s->used ? n_bytes - done : STAGING_PIECE_BYTES - s->used;
        unsigned char *piece = s->at + s->now * STAGING_PIECE_BYTES + s->used;
        memcpy(piece, (const char *)from + done, n);
        cuda_note(cudaMemcpyAsync((char *)to + done, piece, n, cudaMemcpyHostToDevice, stream), "a copy to the GPU");
        s->used = (s->used + n + STAGING_ALIGN - 1) / STAGING_ALIGN * STAGING_ALIGN;
    }
}

/* What an earlier put() left in a piece has gone before the copy into it begins, since one stream does both. */
static void ask_piece(struct staging *s, cudaStream_t stream, unsigned piece, const void *from, size_t n_bytes)
{
    cuda_note(cudaMemcpyAsync(s->at + piece * STAGING_PIECE_BYTES, from, n_bytes, cudaMemcpyDeviceToHost, stream),
              "a copy from the GPU");
    if (!cuda_has_failed())
        cuda_note(cudaEventRecord(s->sent[piece], stream), "an event");
}

static void get_in_pieces(struct staging *s, cudaStream_t stream, void *to, const void *from, size_t n_bytes)
{
    size_t n_pieces = cuda_parts(n_bytes, STAGING_PIECE_BYTES), n_asked = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        for (; n_asked < n_pieces && n_asked < i + STAGING_PIECES && !cuda_has_failed(); n_asked++) {
            size_t at = n_asked * STAGING_PIECE_BYTES, left = n_bytes - at;
            ask_piece(s, stream, n_asked % STAGING_PIECES, (const char *)from + at,
                      left < STAGING_PIECE_BYTES ? left : STAGING_PIECE_BYTES);
        }
        if (!cuda_has_failed())
            cuda_note(cudaEventSynchronize(s->sent[i % STAGING_PIECES]), "a copy from the GPU");
        if (cuda_has_failed())
            return;
        size_t at = i * STAGING_PIECE_BYTES, left = n_bytes - at;
        memcpy((char *)to + at, s->at + i % STAGING_PIECES * STAGING_PIECE_BYTES,
               left < STAGING_PIECE_BYTES ? left : STAGING_PIECE_BYTES);
    }
    staging_rest(s);
}

void staging_get(struct staging *s, cudaStream_t stream, void *to, const void *from, size_t n_bytes)
{
    if (is_there(s)) {
        get_in_pieces(s, stream, to, from, n_bytes);
        return;
    }
    if (cuda_has_failed())
        return;
    cuda_note(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyDeviceToHost, stream), "a copy from the GPU");
    if (!cuda_has_failed())
        cuda_note(cudaStreamSynchronize(stream), "a copy from the GPU");
}

void staging_rest(struct staging *s)
{
    memset(s->is_under_way, 0, sizeof s->is_under_way);
    s->used = 0;
}

void staging_fini(struct staging *s)
{
    for (int i = 0; i < STAGING_PIECES && !cuda_has_failed(); i++)
        if (s->sent[i])
            cuda_note(cudaEventDestroy(s->sent[i]), "an event");
    if (s->at && !cuda_has_failed())
        cuda_note(cudaFreeHost(s->at), "pinned memory");
    memset(s, 0, sizeof *s);
}
