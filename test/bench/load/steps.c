#include "steps.h"

#include "text_template.h"
#include <stdlib.h>

static bool add(struct steps *steps, struct step step)
{
    if (steps->count == STEPS_MAX)
        return false;
    steps->list[steps->count++] = step;
    return true;
}

bool steps_send(struct steps *steps, const char *text, bool waits)
{
    return steps->count < STEPS_MAX &&
           add(steps, (struct step){.send = template_unescape(text), .waits = waits});
}

bool steps_expect(struct steps *steps, const char *text)
{
    struct step *last = steps->count ? &steps->list[steps->count - 1] : NULL;
    if ((!last || last->expect.data) && !add(steps, (struct step){0}))
        return false;
    last = &steps->list[steps->count - 1];
    last->waits = true;
    last->expect = template_unescape(text);
    return true;
}

void steps_free(struct steps *steps)
{
    for (unsigned i = 0; i < steps->count; i++) {
        free((char *)steps->list[i].send.data);
        free((char *)steps->list[i].expect.data);
    }
}
