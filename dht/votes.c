#include "dht/votes.h"

#include <stdlib.h>
#include <string.h>

#include "dht/id.h"

static bool is_same_voter(const struct addr *a, const struct addr *b)
{
    return addr_is_local(a) ? addr_equal(a, b) : dht_id_same_subnet(a, b);
}

void dht_votes_fini(struct dht_votes *votes)
{
    free(votes->vote);
    *votes = (struct dht_votes){0};
}

static bool grow(struct dht_votes *votes)
{
    if (votes->n < votes->capacity)
        return true;
    size_t capacity = votes->capacity + 4;
    struct dht_vote *vote = realloc(votes->vote, capacity * sizeof *vote);
    if (!vote)
        return false;
    votes->vote = vote;
    votes->capacity = capacity;
    return true;
}

void dht_votes_add(struct dht_votes *votes, const struct addr *voter, const struct addr *said)
{
    if (voter->family != said->family || addr_is_unspecified(said) || (addr_is_local(said) && !addr_is_local(voter)))
        return;
    size_t i = 0;
    while (i < votes->n && !is_same_voter(&votes->vote[i].voter, voter))
        i++;
    if (i == DHT_VOTES_MAX)
        i = 0;
    if (i < votes->n) {
        memmove(&votes->vote[i], &votes->vote[i + 1], (votes->n - i - 1) * sizeof votes->vote[0]);
        votes->n--;
    }
    if (grow(votes))
        votes->vote[votes->n++] = (struct dht_vote){.voter = *voter, .said = *said};
}

static size_t count(const struct dht_votes *votes, const struct addr *said)
{
    size_t n = 0;
    for (size_t i = 0; i < votes->n; i++)
        n += dht_id_same_ip(&votes->vote[i].said, said);
    return n;
}

size_t dht_votes_winner(const struct dht_votes *votes, struct addr *out)
{
    size_t best = votes->n > 0 ? count(votes, &votes->vote[votes->n - 1].said) : 0;
    if (2 * best > votes->n) { /* as nearly always: nobody can have more than the latest */
        *out = votes->vote[votes->n - 1].said;
        return best;
    }
    best = 0;
    for (size_t i = 0; i < votes->n; i++) {
        size_t n = count(votes, &votes->vote[i].said);
        if (n >= best) {
            best = n;
            *out = votes->vote[i].said;
        }
    }
    return best;
}
