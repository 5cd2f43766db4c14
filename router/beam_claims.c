#include "router/beam_claims.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* One claim while a row is read; its writer is still the number of an entry. */
struct offer {
    struct beam_said said;
    bool is_askable;
};

struct offers {
    size_t n[MESSAGE_ROW_EXPERTS];
    struct offer offer[MESSAGE_ROW_EXPERTS][BEAM_CLAIMS_MAX];
};

static float bias_of(const struct beam_bias *bias, uint32_t expert, const struct beam_claim *claim)
{
    float sum = bias->of ? bias->of(bias->arg, expert, claim) : 0;
    assert(sum <= 0); /* more would break the bounds that searches prune with */
    return sum;
}

/* -- Reading entries ---------------------------------------------------------------------------------- */

static bool outranks(const struct beam_said *a, const struct peer_id *a_id, const struct beam_said *b, const struct peer_id *b_id)
{
    if (a->epoch != b->epoch)
        return a->epoch > b->epoch;
    if (a->version != b->version)
        return a->version > b->version;
    return peer_id_compare(a_id, b_id) > 0;
}

static bool outlasts(const struct dht_entry *entry, const struct offer *a, const struct offer *b)
{
    if (a->is_askable != b->is_askable)
        return a->is_askable;
    return outranks(&a->said, &entry[a->said.writer_i].writer, &b->said, &entry[b->said.writer_i].writer);
}

/* The weakest gives way when there are more than we keep. */
static void add_offer(struct offers *offers, const struct dht_entry *entry, struct offer offer)
{
    size_t *n = &offers->n[offer.said.index];
    struct offer *kept = offers->offer[offer.said.index];
    if (*n < BEAM_CLAIMS_MAX) {
        kept[(*n)++] = offer;
        return;
    }
    size_t worst = 0;
    for (size_t i = 1; i < BEAM_CLAIMS_MAX; i++)
        if (outlasts(entry, &kept[worst], &kept[i]))
            worst = i;
    if (outlasts(entry, &offer, &kept[worst]))
        kept[worst] = offer;
}

static void hear_entry(struct offers *offers, const struct dht_entry *entry, size_t i, uint32_t first, uint64_t whole,
                       const struct beam_bias *bias)
{
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    size_t n_claims;
    if (message_claims_decode(claim, &n_claims, entry[i].bytes, entry[i].n_bytes) != 0)
        return;
    uint8_t hardware = (uint8_t)message_claims_hardware(entry[i].bytes);
    for (size_t c = 0; c < n_claims; c++) {
        if (!(whole >> claim[c].index & 1))
            continue;
        struct beam_claim by = {entry[i].writer, entry[i].addr, claim[c].epoch, hardware, claim[c].version, claim[c].load};
        struct beam_said said = {claim[c].index, claim[c].epoch, (uint16_t)i, claim[c].version, claim[c].load};
        add_offer(offers, entry, (struct offer){said, bias_of(bias, first + said.index, &by) > -INFINITY});
    }
}

static void sort(struct offer *offer, size_t n, const struct dht_entry *entry)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0; j--) {
            struct offer *a = &offer[j - 1], *b = &offer[j], swap = *a;
            if (!outranks(&b->said, &entry[b->said.writer_i].writer, &a->said, &entry[a->said.writer_i].writer))
                break;
            *a = *b;
            *b = swap;
        }
}

/* The place of an entry's writer among those who are kept. */
static uint16_t keep_writer(struct beam_claims *claims, const struct dht_entry *entry)
{
    uint16_t i = 0;
    while (i < claims->n_writers && !peer_id_equal(&claims->writer[i].id, &entry->writer))
        i++;
    if (i == claims->n_writers)
        claims->writer[claims->n_writers++] =
            (struct beam_writer){entry->writer, entry->addr, (uint8_t)message_claims_hardware(entry->bytes), entry->expiry_s};
    return i;
}

static struct beam_claims *claims_allot(size_t n_said, size_t n_writers)
{
    struct beam_claims *claims = calloc(1, sizeof *claims + n_said * sizeof *claims->said + n_writers * sizeof *claims->writer);
    if (claims)
        claims->writer = (struct beam_writer *)(claims->said + n_said);
    return claims;
}

/* Gives back what was allotted for writers that turned out to be one and the same. */
static struct beam_claims *claims_fit(struct beam_claims *claims)
{
    struct beam_claims *fit = realloc(claims, beam_claims_bytes(claims));
    if (!fit)
        return claims;
    fit->writer = (struct beam_writer *)(fit->said + fit->n_said);
    return fit;
}

static int claims_keep(struct offers *offers, const struct dht_entry *entry, size_t n_said, struct beam_claims **out)
{
    struct beam_claims *claims = claims_allot(n_said, n_said);
    if (!claims)
        return HANSE_ENOMEM;
    for (size_t i = 0; i < MESSAGE_ROW_EXPERTS; i++) {
        sort(offers->offer[i], offers->n[i], entry);
        for (size_t c = 0; c < offers->n[i]; c++) {
            struct beam_said *said = &claims->said[claims->n_said++];
            *said = offers->offer[i][c].said;
            said->writer_i = keep_writer(claims, &entry[said->writer_i]);
        }
    }
    *out = claims_fit(claims);
    return 0;
}

int beam_claims_new(const struct dht_entry *entry, size_t n, uint32_t first, uint64_t whole, uint64_t now_us,
                    const struct beam_bias *bias, struct beam_claims **out)
{
    struct offers offers = {0};
    size_t n_said = 0;
    for (size_t i = 0; i < n && i <= UINT16_MAX; i++)
        if (entry[i].addr.port != 0 && entry[i].expiry_s > now_us / 1000000)
            hear_entry(&offers, entry, i, first, whole, bias);
    for (size_t i = 0; i < MESSAGE_ROW_EXPERTS; i++)
        n_said += offers.n[i];
    *out = NULL;
    return n_said > 0 ? claims_keep(&offers, entry, n_said, out) : 0;
}

size_t beam_claims_bytes(const struct beam_claims *claims)
{
    return claims ? sizeof *claims + claims->n_said * sizeof *claims->said + claims->n_writers * sizeof *claims->writer : 0;
}

/* -- Looking at them ------------------------------------------------------------------------------------ */

/* The bias of one claim; -INFINITY when it is over or its writer cannot be asked. */
static float ask(const struct beam_claims *claims, const struct beam_said *said, uint32_t first, uint64_t now_us,
                 const struct beam_bias *bias, struct beam_claim *out)
{
    const struct beam_writer *writer = &claims->writer[said->writer_i];
    if (writer->expiry_s <= now_us / 1000000)
        return -INFINITY;
    *out = (struct beam_claim){writer->id, writer->addr, said->epoch, writer->hardware, said->version, said->load};
    return bias_of(bias, first + said->index, out);
}

bool beam_claims_next(const struct beam_claims *claims, size_t *at, uint32_t first, uint64_t now_us, const struct beam_bias *bias,
                      uint32_t *index, float *sum)
{
    struct beam_claim claim;
    while (claims && *at < claims->n_said) {
        const struct beam_said *said = &claims->said[(*at)++];
        *sum = ask(claims, said, first, now_us, bias, &claim);
        if (*sum == -INFINITY)
            continue;
        *index = said->index;
        while (*at < claims->n_said && claims->said[*at].index == *index)
            (*at)++;
        return true;
    }
    return false;
}

size_t beam_claims_of(const struct beam_claims *claims, uint32_t index, uint32_t first, uint64_t now_us,
                      const struct beam_bias *bias, struct beam_claim out[BEAM_CLAIMS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; claims && i < claims->n_said && n < BEAM_CLAIMS_MAX; i++)
        if (claims->said[i].index == index && ask(claims, &claims->said[i], first, now_us, bias, &out[n]) > -INFINITY)
            n++;
    return n;
}
