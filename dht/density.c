#include "dht/density.h"

/* The spread of an honest walk has a gamma distribution of shape 16: a standard deviation of a quarter of its mean.  The third least
 * of seven is nine tenths of the mean, and one walk of a hundred is more than twice that; none of millions is more than four times
 * that, also where some of the nearest were not met. */
#define THIN 2
#define BARE 4

/* The third least of seven: led astray may have been four of them, and two may have ended among ids that somebody placed near a key to
 * make all others look thin.  Of fewer it is the one that stands as high. */
static uint64_t usual(const struct dht_density *density)
{
    uint64_t sorted[DHT_DENSITY_WALKS];
    size_t n = density->n < DHT_DENSITY_WALKS ? density->n : DHT_DENSITY_WALKS;
    for (size_t i = 0, j; i < n; i++) {
        for (j = i; j > 0 && sorted[j - 1] > density->spread[i]; j--)
            sorted[j] = sorted[j - 1];
        sorted[j] = density->spread[i];
    }
    return sorted[(n - 1) / 3];
}

/* One that ended far away counts as if it had ended as far as is still believed: liars on the way of most walks would otherwise be the
 * measure soon, and in a swarm that shrinks it follows nevertheless. */
void dht_density_note(struct dht_density *density, uint64_t spread)
{
    if (spread == DHT_SPREAD_NONE)
        return;
    if (dht_density_is_thin(density, spread) && density->n > 0)
        spread = THIN * usual(density);
    density->spread[density->n++ % DHT_DENSITY_WALKS] = spread;
}

bool dht_density_is_thin(const struct dht_density *density, uint64_t spread)
{
    return spread == DHT_SPREAD_NONE || density->n == 0 || spread / THIN > usual(density);
}

bool dht_density_is_bare(const struct dht_density *density, uint64_t spread)
{
    return spread != DHT_SPREAD_NONE && density->n > 0 && spread / BARE > usual(density);
}

static bool is_unknown(const struct dht_density *density, uint64_t spread)
{
    return spread == DHT_SPREAD_NONE && density->n == 0;
}

bool dht_density_is_astray(const struct dht_density *v4, uint64_t spread_v4, const struct dht_density *v6, uint64_t spread_v6)
{
    bool is_thin_v4 = dht_density_is_thin(v4, spread_v4), is_thin_v6 = dht_density_is_thin(v6, spread_v6);
    if (is_unknown(v4, spread_v4))
        return is_thin_v6;
    return is_thin_v4 || (is_thin_v6 && !is_unknown(v6, spread_v6));
}
