/* cmd/key.c - hanse key: the key of a directory, which is the identity of the peer that lives in it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/key.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "net/net.h"

static void print_key(const struct key *key, const char *dir)
{
    struct peer_id peer = key_peer_id(key);
    char hex[2 * sizeof peer.byte + 1];
    text_hex(hex, peer.byte, sizeof peer.byte);
    printf("%s  %s\n", hex, dir);
}

static bool has_key(const char *dir)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/key", dir);
    FILE *file = fopen(path, "r");
    if (file)
        fclose(file);
    return file != NULL;
}

int cmd_key(int argc, char **argv)
{
    const char *dir = NULL;
    const struct options_row row[] = {
        {"dir", "DIR", OPTIONS_TEXT, &dir, "the peer's directory; the key is the file DIR/key, readable by you alone", 0, 0,
         true},
    };
    const struct options_usage usage = {
        .command = "hanse key",
        .operands = "new|show",
        .about = "'new' makes a key in a directory that has none; 'show' prints the peer id: the public half, in hex. "
                 "Host and trainer make their key by themselves, so 'new' is needed only to know the id beforehand.",
        .example = "hanse key new --dir host1",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .n_operands_min = 1,
        .n_operands_max = 1,
    };
    char **operand;
    int status;
    if (!options_read(&usage, argc, argv, &operand, NULL, &status))
        return status;
    bool is_new = strcmp(operand[0], "new") == 0;
    if (!is_new && strcmp(operand[0], "show") != 0)
        return options_refuse(&usage, "'%s' is not understood; it is 'new' or 'show'", operand[0]);
    if (is_new && has_key(dir)) {
        fprintf(stderr,
                "hanse key: %s/key: exists already; a key is never replaced. Use another directory, or 'hanse key show'\n", dir);
        return hanse_exit_status(HANSE_EEXIST);
    }
    if (!is_new && !has_key(dir)) {
        fprintf(stderr, "hanse key: %s/key: there is none yet; 'hanse key new --dir %s' makes one\n", dir, dir);
        return hanse_exit_status(HANSE_ENOENT);
    }
    struct key *key;
    int err = files_key(dir, is_new, &key);
    if (err)
        return hanse_exit_status(err);
    print_key(key, dir);
    key_free(key);
    return 0;
}
