/* Where the relative paths of a configuration file lead. Callers free what is returned. */
#pragma once

#include "base/buf.h"

/* The folder from which `file`'s relative paths start: the one above when the file is in a folder
 * named conf, else the file's own. */
char *config_path_base(const char *file);

/* `path` as seen from the folder `base`, which need not exist. */
char *config_path_join(const char *base, const char *path);

/* The first readable file at `path` from `base`, then from the working directory. NULL when there
 * is none; then `tried`, which is empty before, names the places. */
char *config_path_find(const char *base, const char *path, struct buf *tried);
