/* What a checkpoint from a stranger is made of: the first byte says which decoder gets the rest. */
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

#include "experts/chunk.h"
#include "experts/manifest.h"
#include "experts/safetensors.h"

/* A manifest that is accepted describes a state that adds up. */
static void read_manifest(const uint8_t *bytes, size_t n)
{
    struct manifest *m;
    const char *fault = NULL;
    if (manifest_decode(bytes, n, &m, &fault)) {
        assert(fault);
        return;
    }
    uint64_t n_bytes = 0;
    size_t n_chunks = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct manifest_tensor *t = &m->tensor[i];
        assert(t->offset == n_bytes && t->chunk_at == n_chunks && manifest_tensor_name_ok(t->name));
        for (size_t j = 0; j < t->n_chunks; j++)
            n_bytes += manifest_chunk_bytes(t, j);
        n_chunks += t->n_chunks;
    }
    assert(n_bytes == m->info.n_bytes && n_chunks == m->n_chunks && manifest_name_ok(m->info.name));
    struct hash root = hash_merkle(m->chunk, m->n_chunks);
    assert(hash_equal(&root, &m->info.root));
    manifest_free(m);
}

/* A chunk is of the size asked for or refused; what it holds packs and unpacks again. */
static void read_chunk(const uint8_t *bytes, size_t n)
{
    static uint8_t plain[CHUNK_BYTES], again[CHUNK_BYTES];
    struct chunk_scratch scratch;
    struct buf packed;
    if (n < 2)
        return;
    size_t n_plain = (size_t)bytes[0] << 4 | bytes[1] >> 4;
    int err = chunk_scratch_init(&scratch);
    assert(err == 0);
    if (chunk_unpack(&scratch, plain, n_plain, bytes + 2, n - 2) == 0) {
        err = chunk_pack(&scratch, plain, n_plain);
        assert(err == 0);
        buf_init(&packed, CHUNK_PACKED_MAX);
        buf_append(&packed, scratch.packed.bytes, scratch.packed.n);
        err = chunk_unpack(&scratch, again, n_plain, packed.bytes, packed.n);
        assert(err == 0 && memcmp(plain, again, n_plain) == 0);
        buf_fini(&packed);
    }
    chunk_scratch_fini(&scratch);
}

static void read_safetensors(const uint8_t *bytes, size_t n)
{
    static const size_t dim[2] = {2, 3};
    static uint8_t copy[24];
    struct safetensors file;
    const uint8_t *data;
    if (safetensors_open(&file, bytes, n))
        return;
    if (safetensors_find(&file, "w", CHECKPOINT_F32, dim, 2, &data) == 0)
        memcpy(copy, data, sizeof copy);
    safetensors_close(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static void (*const read[])(const uint8_t *bytes, size_t n) = {read_manifest, read_chunk, read_safetensors};
    if (n > 0)
        read[bytes[0] % 3](bytes + 1, n - 1);
    return 0;
}
