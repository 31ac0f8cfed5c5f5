#include "mode.h"

const struct mode *const modes[] = {
    &mode_echo, &mode_fanout, &mode_channels, &mode_mixed, &mode_idle, &mode_script, NULL};
