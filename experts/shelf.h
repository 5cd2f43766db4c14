/**
 * experts/shelf.h - the manifests of one name on a disk, and the lock around all of them.
 *
 * Newest means: of the highest epoch, and among those of the highest version.  An adopter starts a new epoch from a
 * checkpoint that may be older than what the former host still has lying about.
 */
#ifndef EXPERTS_SHELF_H
#define EXPERTS_SHELF_H

#include "experts/manifest.h"

struct shelf {
    size_t n;
    struct manifest **manifest; /* those that decode, newest last */
    size_t n_damaged;
    uint64_t *damaged; /* versions of those that do not, ascending */
    int err;           /* why the newest damaged one does not; 0 without any */
};

/** Reads all manifests of a name and, when told to, logs each that is damaged.  HANSE_ENOMEM or what listing gave.
 * End with shelf_fini() in either case. */
HANSE_MUST_USE int shelf_open(const struct disk *disk, const char *name, bool is_logged, struct shelf *shelf);
void shelf_fini(struct shelf *shelf);

/** Sets `parent` to the id of the newest manifest of info->name before info's epoch and version; zeros when there is none.
 * Damaged ones are passed over. */
HANSE_MUST_USE int shelf_parent(const struct disk *disk, const struct checkpoint_info *info, struct hash *parent);

/** Calls `each` for every manifest file, in order of names and versions, from no callback of the disk. */
HANSE_MUST_USE int shelf_list(const struct disk *disk, void (*each)(void *arg, const char *name, uint64_t version), void *arg);

/**
 * A save relies on chunks that no manifest names yet, and pruning removes just such; so saves and loads share the
 * shelf, and pruning has it alone.  One lock for the process.  (Two processes must not share a directory; src/net/files.c
 * sees to that.)
 */
void shelf_share(void);
void shelf_claim(void);
void shelf_release(void);

#endif
