/* Numbers as decimal text, where printf is too slow. Pure function. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { DECIMAL_TEXT = 21 }; /* digits and NUL */

/* Returns the count of digits written. */
size_t decimal_format(uint64_t number, char text[DECIMAL_TEXT]);
