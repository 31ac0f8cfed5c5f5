/* How far apart two names are, for "the nearest known key". Pure. */
#pragma once

enum { EDIT_DISTANCE_FAR = 1000 };

/* The least count of characters to insert, delete or replace, ignoring case and underscores.
 * EDIT_DISTANCE_FAR when a name is longer than any of ours. */
unsigned edit_distance(const char *a, const char *b);
