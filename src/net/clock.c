/* net/clock.c - Unix time that never goes back. */
#include <stdatomic.h>
#include <time.h>

#include "net/clock.h"
#include "net/net.h"

#define FOLLOW_US 1000000 /* a difference worth following */
#define SLEW_MAX_US 50000 /* how far one call of clock_follow() sets the clock back */

static _Atomic int64_t offset_us; /* Unix time minus time since boot; 0 before the first question */
static _Atomic uint64_t last_us;

static int64_t read_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t since_boot_us(void)
{
    return read_us(CLOCK_BOOTTIME); /* goes on while the machine sleeps, unlike CLOCK_MONOTONIC */
}

static int64_t get_offset(void)
{
    int64_t offset = atomic_load_explicit(&offset_us, memory_order_relaxed);
    if (offset)
        return offset;
    int64_t measured = read_us(CLOCK_REALTIME) - since_boot_us();
    if (atomic_compare_exchange_strong(&offset_us, &offset, measured))
        return measured;
    return offset; /* another thread was first */
}

uint64_t net_now_us(void)
{
    uint64_t now = (uint64_t)(since_boot_us() + get_offset());
    uint64_t last = atomic_load_explicit(&last_us, memory_order_relaxed);
    while (now > last)
        if (atomic_compare_exchange_weak_explicit(&last_us, &last, now, memory_order_relaxed, memory_order_relaxed))
            return now;
    return last;
}

uint64_t net_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void clock_follow(void)
{
    int64_t offset = get_offset();
    int64_t behind = read_us(CLOCK_REALTIME) - (since_boot_us() + offset);
    if (behind > FOLLOW_US)
        atomic_fetch_add(&offset_us, behind);
    else if (behind < -FOLLOW_US)
        atomic_fetch_sub(&offset_us, SLEW_MAX_US);
}
