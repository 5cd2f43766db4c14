/* kernels/device_parse.c - how a user names a device. */
#include "kernels/device.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define INDEX_MAX 1023 /* more than any machine has */

static int parse_number(const char *text, int *index)
{
    char *end;
    if (*text < '0' || *text > '9')
        return HANSE_EINVAL;
    unsigned long n = strtoul(text, &end, 10);
    if (*end != '\0' || n > INDEX_MAX)
        return HANSE_EINVAL;
    *index = (int)n;
    return 0;
}

int device_parse(const char *text, int *index)
{
    if (strcmp(text, "cpu") == 0) {
        *index = -1;
        return 0;
    }
    if (strcmp(text, "cuda") == 0) {
        *index = 0;
        return 0;
    }
    if (strncmp(text, "cuda:", 5) == 0 && parse_number(text + 5, index) == 0)
        return 0;
    log_error("device %s: no such kind; cpu, cuda and cuda:N with the number that nvidia-smi gives a GPU exist", text);
    return HANSE_EINVAL;
}
