/* Files of a folder that the engine API serves while an application is being developed: the
 * application's page. Read afresh at each request, so that an edit shows on reload. */
#pragma once

#include "base/buf.h"

/* Appends the file that a request's path (decoded, with its leading '/') names below `folder`;
 * "/" is "/index.html". Returns its content type, or NULL, with no bytes appended, when it is not
 * served: nothing there, no regular file, larger than 1 MiB, not readable, a name with a leading
 * dot on the way, or a link that leads out of the folder. Blocks for the time of the read. */
const char *pages_read(const char *folder, const char *path, struct buf *out)
    __attribute__((warn_unused_result));

/* Header lines for each of these files: nothing from elsewhere runs in the page, WebSockets may
 * lead anywhere. */
extern const char pages_headers[];
