/* What the modes with a publisher have in common: one run of --messages, what came of it. */
#pragma once

#include "mode.h"

/* As struct mode's check. */
const char *publishing_check(struct options *options);

/* The publisher, and subscribers: `subscribers` of each of `channels`, `slow` of them slow. */
void publishing_plan(struct run *run, uint32_t channels, uint32_t subscribers, uint32_t slow);

/* Publishes until all is delivered, nothing moves any more, or --time is over; drains. */
void publishing_measure(struct run *run);

bool publishing_report(const struct run *run, struct report *report);
uint64_t publishing_units(const struct run *run);

/* Bystanders' figures, with keys that begin with `prefix`. */
bool publishing_report_bystanders(const struct run *run, struct report *report, const char *prefix);
