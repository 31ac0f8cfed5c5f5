/* Strengths of assertion: CHECK holds in every build and is for invariants of our own; assert() is
 * for debug builds; what the outside world can cause is a returned code, never one of these. */
#pragma once

/* Ends the process with the place and the text of an invariant that does not hold. Any thread. */
_Noreturn void check_failed(const char *file, int line, const char *what);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
