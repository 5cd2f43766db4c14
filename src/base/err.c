#include "hanse/err.h"

const char *hanse_strerror(int err)
{
    switch (err) {
#define X(name, value, sentence, status)                                                                                         \
    case HANSE_##name:                                                                                                           \
        return sentence;
        HANSE_ERRORS(X)
#undef X
    case 0:
        return "no error";
    default:
        return "an unknown error";
    }
}

int hanse_exit_status(int err)
{
    switch (err) {
#define X(name, value, sentence, status)                                                                                         \
    case HANSE_##name:                                                                                                           \
        return status;
        HANSE_ERRORS(X)
#undef X
    case 0:
        return 0;
    default:
        return 70; /* EX_SOFTWARE */
    }
}
