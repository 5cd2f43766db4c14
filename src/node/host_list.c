#include "node/host_list.h"

#include <ctype.h>
#include <string.h>

#include "base/log.h"

/* Reads digits; false when there are none or the number is past 32 bits. */
static bool read_number(const char **at, uint32_t *out)
{
    uint64_t value = 0;
    const char *start = *at;
    while (isdigit((unsigned char)**at) && value <= UINT32_MAX)
        value = 10 * value + (uint64_t)(*(*at)++ - '0');
    *out = (uint32_t)value;
    return *at > start && value <= UINT32_MAX;
}

/* Reads "L<layer>.<first>[-<last>]" and stops behind it; NULL, or why it is none. */
static const char *read_part(const struct run *run, const char **at, uint32_t *layer, uint32_t *first, uint32_t *last)
{
    static const char *const form = "is not of the form L0.3 or L0.0-7";
    if (*(*at)++ != 'L' || !read_number(at, layer) || *(*at)++ != '.' || !read_number(at, first))
        return form;
    *last = *first;
    if (**at == '-') {
        ++*at;
        if (!read_number(at, last))
            return form;
    }
    if (**at != ',' && **at != 0)
        return form;
    if (*layer >= run->n_moe)
        return "names a layer that does not exist";
    if (*first > *last)
        return "counts down";
    return *last < run->experts ? NULL : "names an expert that does not exist";
}

int host_list_parse(const struct run *run, const char *text, bool *is_listed)
{
    memset(is_listed, 0, sizeof *is_listed * run->n_moe * run->experts);
    for (const char *part = text;;) {
        uint32_t layer, first, last;
        const char *at = part;
        const char *fault = read_part(run, &at, &layer, &first, &last);
        if (fault) {
            log_error("--experts %s: \"%.*s\" at column %zu %s; this run has L0.0-%u to L%u.0-%u, or write auto", text,
                      (int)strcspn(part, ","), part, (size_t)(part - text) + 1, fault, run->experts - 1, run->n_moe - 1,
                      run->experts - 1);
            return HANSE_EINVAL;
        }
        for (uint32_t e = first; e <= last; e++)
            is_listed[(size_t)layer * run->experts + e] = true;
        if (*at == 0)
            return 0;
        part = at + 1;
    }
}
