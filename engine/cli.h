/* argv to an action. */
#pragma once

/* Does what the command line says and returns the exit status: 0; 64 for a wrong command line; 78
 * for a wrong configuration; 1 for what failed while running (sysexits.h). */
int cli_main(int argc, char **argv);
