#include "base/decimal.h"
#include <string.h>

size_t decimal_format(uint64_t number, char text[DECIMAL_TEXT])
{
    char digits[DECIMAL_TEXT];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    memcpy(text, digits + at, sizeof digits - at);
    return sizeof digits - 1 - at;
}
