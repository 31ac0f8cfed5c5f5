/* What a listener's `tls` section asks for: the paths as one would expect them, and the files as
 * the SSL_CTX that new connections are made from. */
#pragma once

#include "config/config_reader.h"

/* Resolves the paths as seen from the folder `base`; reports what does not go together and what
 * cannot be read. */
void config_tls_resolve(struct config_reader *reader, const char *base, struct config_tls *tls);

/* Reads the files and sets `context`, which stays NULL where there is no certificate. Reports what
 * is wrong with them; one that is out of its time gives a warning. */
void config_tls_load(struct config_reader *reader, struct config_tls *tls);

/* Gives up the reference to the context; who has made connections from it holds others. */
void config_tls_fini(struct config_tls *tls);
