/* kernels/cuda/emulate_memory.cpp - device memory and pinned memory.
 *
 * Device memory is a range of addresses of its own that only emulated work may touch: elsewhere it is protected, so that
 * code for the CPU that reads a tensor of the device ends with a signal here, as it would on a GPU.  Behind each piece lies a
 * gap that holds the pattern, which is looked at when the piece is given back.  Under a sanitizer, which has signals of its own, each piece
 * is malloc's instead: AddressSanitizer sees a step too far when it is made. */
#include "kernels/cuda/emulate_state.h"

#include <stdio.h>
#include <sys/mman.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define HAS_SANITIZER 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif

#define ALIGN ((size_t)256)
#define RANGE_BYTES ((size_t)4 << 30) /* of addresses; memory is used where it is written */

/* In the order of addresses. */
struct piece {
    struct piece *next;
    unsigned char *at;
    size_t n_bytes;
};

static struct piece *pieces[2];
#ifdef HAS_SANITIZER
static unsigned char *place_piece(enum emulate_place place, size_t n_bytes, struct piece ***link)
{
    void *at = NULL;
    *link = &pieces[place];
    return posix_memalign(&at, ALIGN, n_bytes ? n_bytes : 1) == 0 ? static_cast<unsigned char *>(at) : NULL;
}

static void unplace_piece(enum emulate_place, struct piece *piece)
{
    free(piece->at);
}

void emulate_uncover(void)
{
}

void emulate_cover(void)
{
}

bool emulate_is_guarded(void)
{
    return false;
}
#else
static unsigned char *range;
static int n_uncovered;

static size_t room_of(size_t n_bytes)
{
    return (n_bytes + ALIGN - 1) / ALIGN * ALIGN + ALIGN;
}

static unsigned char *make_range(void)
{
    void *at = mmap(NULL, RANGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    if (n_uncovered > 0)
        mprotect(at, RANGE_BYTES, PROT_READ | PROT_WRITE);
    return static_cast<unsigned char *>(at);
}

/* The first gap between pieces that is large enough. */
static unsigned char *place_in_range(size_t n_bytes, struct piece ***link)
{
    if (!range)
        range = make_range();
    unsigned char *at = range;
    struct piece **p = &pieces[EMULATE_DEVICE];
    for (; *p && (size_t)((*p)->at - at) < room_of(n_bytes); p = &(*p)->next)
        at = (*p)->at + room_of((*p)->n_bytes);
    *link = p;
    return range && (size_t)(range + RANGE_BYTES - at) >= room_of(n_bytes) ? at : NULL;
}

static unsigned char *place_piece(enum emulate_place place, size_t n_bytes, struct piece ***link)
{
    if (place == EMULATE_DEVICE)
        return place_in_range(n_bytes, link);
    *link = &pieces[place];
    return static_cast<unsigned char *>(aligned_alloc(ALIGN, room_of(n_bytes)));
}

/* What lies behind it must be as it was. */
static void unplace_piece(enum emulate_place place, struct piece *piece)
{
    for (const unsigned char *at = piece->at + piece->n_bytes; at < piece->at + room_of(piece->n_bytes); at++)
        if (*at != EMULATE_POISON) {
            fprintf(stderr, "emulation: byte %zu behind a piece of %zu bytes was written\n",
                    (size_t)(at - piece->at) - piece->n_bytes, piece->n_bytes);
            abort();
        }
    if (place == EMULATE_PINNED)
        free(piece->at);
}

void emulate_uncover(void)
{
    if (n_uncovered++ == 0 && range)
        mprotect(range, RANGE_BYTES, PROT_READ | PROT_WRITE);
}

void emulate_cover(void)
{
    if (--n_uncovered == 0 && range)
        mprotect(range, RANGE_BYTES, PROT_NONE);
}

bool emulate_is_guarded(void)
{
    return true;
}
#endif

static size_t pattern_bytes(size_t n_bytes)
{
#ifdef HAS_SANITIZER
    return n_bytes;
#else
    return room_of(n_bytes);
#endif
}

void *emulate_take(enum emulate_place place, size_t n_bytes)
{
    struct piece **link = NULL, *piece = static_cast<struct piece *>(malloc(sizeof *piece));
    unsigned char *at = piece ? place_piece(place, n_bytes, &link) : NULL;
    if (!at) {
        free(piece);
        return NULL;
    }
    piece->at = at;
    piece->n_bytes = n_bytes;
    piece->next = *link;
    *link = piece;
    emulate_uncover();
    memset(at, EMULATE_POISON, pattern_bytes(n_bytes));
    emulate_cover();
    return at;
}

size_t emulate_give(enum emulate_place place, void *at)
{
    struct piece **p = &pieces[place];
    while (*p && (*p)->at != at)
        p = &(*p)->next;
    struct piece *piece = *p;
    if (!piece) {
        fprintf(stderr, "emulation: %p is given back, which was not allotted in this way\n", at);
        abort();
    }
    *p = piece->next;
    size_t n_bytes = piece->n_bytes;
    emulate_uncover();
    unplace_piece(place, piece);
    emulate_cover();
    free(piece);
    return n_bytes;
}

bool emulate_is_in(enum emulate_place place, const void *at, size_t n_bytes)
{
    const unsigned char *from = static_cast<const unsigned char *>(at);
    for (const struct piece *p = pieces[place]; p; p = p->next)
        if (from >= p->at && from + n_bytes <= p->at + p->n_bytes)
            return true;
    return false;
}

void emulate_give_all(void)
{
    while (pieces[EMULATE_DEVICE])
        emulate_give(EMULATE_DEVICE, pieces[EMULATE_DEVICE]->at);
    while (pieces[EMULATE_PINNED])
        emulate_give(EMULATE_PINNED, pieces[EMULATE_PINNED]->at);
}
