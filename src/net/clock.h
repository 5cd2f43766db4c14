/**
 * net/clock.h - net_now_us() and how it keeps up with a system clock that someone sets.
 */
#ifndef NET_CLOCK_H
#define NET_CLOCK_H

/**
 * Call about once a second: a system clock set forward by more than a second is followed at once, one set back is approached
 * by 5 % of the time that passes, since records with an expiry must agree with the rest of the world sooner or later.
 */
void clock_follow(void);

#endif
