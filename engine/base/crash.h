/* A process that dies of a fault of its own (SIGSEGV, SIGABRT and the like) first lets the log's
 * writer finish, for half a second at most, so that the log tells what came before. The signal
 * then has its usual effect. */
#pragma once

/* Once, at the start. Leaves signals alone that somebody else handles, as sanitizers do. */
void crash_install(void);
