#include "model/data.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"

static int open_data(const char *file, int *fd, size_t *n)
{
    struct stat status;
    *fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not make us wait */
    if (*fd < 0 || fstat(*fd, &status) != 0) {
        int err = errno == ENOENT ? HANSE_ENOENT : errno == EACCES ? HANSE_EACCESS : HANSE_EIO;
        log_error("%s: %s; name a file of text to train on", file, strerror(errno));
        return err;
    }
    if (!S_ISREG(status.st_mode)) {
        log_error("%s: this is not a file; name a file of text to train on", file);
        return HANSE_EINVAL;
    }
    *n = (size_t)status.st_size;
    return 0;
}

static int read_bytes(const char *file, int fd, uint8_t *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = read(fd, bytes + done, n - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            log_error("%s: reading failed: %s; try again", file, got < 0 ? strerror(errno) : "the file became shorter");
            return HANSE_EIO;
        }
        done += (size_t)got;
    }
    return 0;
}

int data_read(const char *file, size_t context, struct data *out)
{
    int fd = -1;
    struct data data = {0};
    int err = open_data(file, &fd, &data.n);
    if (err)
        goto fail;
    if (data.n / 10 < context + 1) {
        err = HANSE_EINVAL;
        log_error("%s: %zu bytes are too few for a context of %zu; give at least %zu bytes, or lower model.context", file, data.n,
                  context, 10 * (context + 1));
        goto fail;
    }
    err = HANSE_ENOMEM;
    data.bytes = malloc(data.n);
    if (!data.bytes)
        goto fail;
    err = read_bytes(file, fd, data.bytes, data.n);
    if (err)
        goto fail;
    data.n_train = data.n / 10 * 9 + data.n % 10 * 9 / 10;
    close(fd);
    *out = data;
    return 0;
fail:
    data_fini(&data);
    if (fd >= 0)
        close(fd);
    return err;
}

void data_fini(struct data *data)
{
    free(data->bytes);
    *data = (struct data){0};
}

/* A 64-bit word modulo the places: the bias, at most places / 2^64, is far below what any run could notice. */
static size_t place_of(const uint32_t key[2], uint64_t step, uint64_t row, size_t n_places)
{
    const uint32_t counter[4] = {(uint32_t)step, (uint32_t)(step >> 32), (uint32_t)row, (uint32_t)(row >> 32)};
    uint32_t word[4];
    random_philox(word, counter, key);
    return (size_t)(((uint64_t)word[1] << 32 | word[0]) % n_places);
}

static void key_of(uint32_t key[2], uint64_t seed)
{
    struct hash hash = {0};
    for (int i = 0; i < 8; i++)
        hash.byte[i] = (uint8_t)(seed >> 8 * i);
    random_key(key, &hash, "data");
}

void data_batch(const struct data *data, uint64_t seed, uint64_t step, size_t first_row, size_t B, size_t T, int32_t *token,
                int32_t *target)
{
    uint32_t key[2];
    assert(data->n_train > T);
    key_of(key, seed);
    for (size_t row = 0; row < B; row++) {
        const uint8_t *from = data->bytes + place_of(key, step, first_row + row, data->n_train - T);
        for (size_t t = 0; t < T; t++) {
            token[row * T + t] = from[t];
            target[row * T + t] = from[t + 1];
        }
    }
}

/* Window w predicts bytes w S + 1 .. w S + T of the last 10 %; those up to (w - 1) S + T were predicted before. */
static size_t stride(size_t T)
{
    return (T + 1) / 2;
}

size_t data_n_windows(const struct data *data, size_t T)
{
    size_t n_targets = data->n - data->n_train - 1;
    assert(data->n > data->n_train + 1);
    if (n_targets <= T)
        return 1;
    return 1 + (n_targets - T + stride(T) - 1) / stride(T);
}

void data_window(const struct data *data, size_t T, size_t window, int32_t *token, int32_t *target, size_t *first_counted,
                 size_t *n_counted)
{
    const uint8_t *from = data->bytes + data->n_train + window * stride(T);
    size_t n_here = data->n - data->n_train - window * stride(T); /* bytes from here to the end */
    assert(window < data_n_windows(data, T));
    for (size_t t = 0; t < T; t++) {
        token[t] = t < n_here ? from[t] : 0;
        target[t] = t + 1 < n_here ? from[t + 1] : 0;
    }
    size_t n_targets = n_here - 1 < T ? n_here - 1 : T;
    *first_counted = window == 0 ? 0 : T - stride(T);
    *n_counted = n_targets - *first_counted;
}
