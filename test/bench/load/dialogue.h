/* Walks a connection through steps: the preamble, a script's round. */
#pragma once

#include "client.h"
#include "steps.h"

/* Sends from step *at on, up to and with the first that waits. True: all steps are done. */
bool dialogue_go(struct client *client, const struct steps *steps, unsigned *at,
                 const struct template_values *values);

/* Is a message what step `at` waits for? */
bool dialogue_hears(struct client *client, const struct steps *steps, unsigned at,
                    const struct template_values *values, struct slice message);

/* The group's preamble, then its join steps for each channel; at its end the connection is open. */
void dialogue_begin_preamble(struct client *client);
void dialogue_on_preamble_message(struct client *client, struct slice message);
