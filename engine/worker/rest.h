/* What a worker does when nobody asks anything of it for a second: scripts' garbage is collected in
 * steps, coroutines and buffers that only work needs are freed, and the system gets back what is
 * free. Once, until there is work again. Worker's thread. */
#pragma once

#include "script/env.h"
#include "script/vm.h"

struct rest {
    struct script_env *env;
    struct vm **vms;
    size_t vm_count;
    uint64_t work; /* that was done when it was last looked at */
    bool had_work; /* since the last rest */
    bool resting;
    bool untrimmed;  /* it has rested, but what is free is still the process's */
    size_t vm;       /* being collected */
    unsigned cycles; /* of it that are over */
};

/* Each second. */
void rest_look(struct rest *rest);

/* Each turn of the loop, which does not wait while this returns true: there is more to do. */
bool rest_turn(struct rest *rest);
