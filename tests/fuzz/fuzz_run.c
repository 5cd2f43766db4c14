/* run_parse() takes any bytes: it refuses, or gives a run whose numbers fit together. */
#include "tests/fuzz/fuzz.h"

#include <assert.h>

#include "base/log.h"
#include "model/run.h"

static void drop_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct run run;
    log_set_sink(drop_line, NULL);
    if (run_parse("fuzz", (const char *)bytes, n, &run) == 0) {
        assert(run.width % run.heads == 0 && run.chosen <= run.experts && run.latent <= run.width);
        assert(run_active_params(&run) >= run_trunk_params(&run));
    }
    return 0;
}
