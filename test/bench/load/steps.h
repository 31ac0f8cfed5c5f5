/* What is said and heard in order: a preamble, or the round of a script. */
#pragma once

#include "proto/handshake.h"
#include <stdbool.h>

enum { STEPS_MAX = 64 };

struct step {
    struct slice send;   /* a template; data NULL: nothing is sent */
    bool waits;          /* for a message, before the next step */
    struct slice expect; /* a template that the message must hold; data NULL: any message will do */
};

struct steps {
    struct step list[STEPS_MAX];
    unsigned count;
};

/* Texts come from a command line. False: there are too many. */
bool steps_send(struct steps *steps, const char *text, bool waits);

/* What the last step waits for; without one, or when it has that already, a step of its own. */
bool steps_expect(struct steps *steps, const char *text);

void steps_free(struct steps *steps);
