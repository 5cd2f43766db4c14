/**
 * hanse/err.h - every error hanse can return, each with its sentence.
 *
 * What can fail returns 0 or one of these negative codes.  Whoever first knows the cause logs it
 * with the remedy; callers only pass the code on.
 */
#ifndef HANSE_ERR_H
#define HANSE_ERR_H

#define HANSE_MUST_USE __attribute__((warn_unused_result))

/* name, value, sentence, exit status of the program */
#define HANSE_ERRORS(X)                                                                                                          \
    X(ENOMEM, 1, "out of memory", 70)                                                                                            \
    X(EINVAL, 2, "a value is not allowed", 64)                                                                                   \
    X(EIO, 3, "reading or writing failed", 74)                                                                                   \
    X(ENOENT, 4, "there is no such thing", 66)                                                                                   \
    X(EEXIST, 5, "it exists already", 73)                                                                                        \
    X(EPROTO, 6, "a message does not follow the protocol", 76)                                                                   \
    X(ECORRUPT, 7, "stored bytes do not match their hash", 65)                                                                   \
    X(ESIGNATURE, 8, "a signature does not verify", 65)                                                                          \
    X(EVERSION, 9, "the version is not supported", 76)                                                                           \
    X(ERUN, 10, "it belongs to another run", 65)                                                                                 \
    X(EBUSY, 11, "it is busy", 75)                                                                                               \
    X(ETIMEOUT, 12, "the deadline passed", 75)                                                                                   \
    X(EUNREACHABLE, 13, "the peer cannot be reached", 69)                                                                        \
    X(EADDRINUSE, 14, "the address is in use", 69)                                                                               \
    X(EACCESS, 15, "permission denied", 77)                                                                                      \
    X(EREJECT, 16, "a number is not finite", 65)                                                                                 \
    X(EFULL, 17, "a limit is reached", 75)                                                                                       \
    X(EGONE, 18, "it is no longer kept", 75)                                                                                     \
    X(EUNSUPPORTED, 19, "this build or machine cannot do it", 69)                                                                \
    X(EINTERRUPTED, 20, "it was interrupted", 130)                                                                               \
    X(ECLOSED, 21, "the connection was closed", 69)                                                                              \
    X(EIDENTITY, 22, "the peer is not the one expected", 76)                                                                     \
    X(EDEVICE, 23, "the GPU failed", 69)

enum hanse_err {
#define X(name, value, sentence, status) HANSE_##name = -(value),
    HANSE_ERRORS(X)
#undef X
};

/** The sentence of an error code; a fixed string, never NULL. */
const char *hanse_strerror(int err);

/** The exit status with which a program that failed with `err` ends (sysexits.h where one fits). */
int hanse_exit_status(int err);

#endif
