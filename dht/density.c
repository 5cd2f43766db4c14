#include "dht/density.h"

/* The spread of an honest walk has a gamma distribution of shape 16: a standard deviation of a quarter of its mean.  The least of
 * seven is seven tenths of the mean, and one walk of a hundred is more than three times that. */
#define THIN 3

void dht_density_note(struct dht_density *density, uint64_t spread)
{
    if (spread != DHT_SPREAD_NONE)
        density->spread[density->n++ % DHT_DENSITY_WALKS] = spread;
}

/* Of walks of which any may have been led astray, the one that ended nearest was not. */
static uint64_t least(const struct dht_density *density)
{
    uint64_t least = DHT_SPREAD_NONE;
    for (size_t i = 0; i < density->n && i < DHT_DENSITY_WALKS; i++)
        least = density->spread[i] < least ? density->spread[i] : least;
    return least;
}

bool dht_density_is_thin(const struct dht_density *density, uint64_t spread)
{
    return spread == DHT_SPREAD_NONE || density->n == 0 || spread / THIN > least(density);
}
