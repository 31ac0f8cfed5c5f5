#include "cli.h"

#include "config/config.h"
#include "config/config_value.h"
#include "config/edit_distance.h"
#include "engine.h"
#include <getopt.h>
#include <libwebsockets.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <uv.h>
#include <yaml.h>

enum { WORKERS_MAX = 64 };

struct arguments {
    const struct cli_command *command;
    const char *file; /* NULL: not given */
    int workers;      /* 0: not given */
    bool help;
};

struct cli_command {
    const char *name;
    const char *summary;
    const char *help; /* what follows the summary */
    int (*run)(const struct arguments *arguments);
};

static int run_engine(const struct arguments *arguments);
static int run_check(const struct arguments *arguments);
static int run_role(const struct arguments *arguments);
static int run_version(const struct arguments *arguments);
static int run_help(const struct arguments *arguments);

#define FILE_OPTION "  -f, --file FILE      the configuration, for example conf/connmix.yaml\n"
#define WORKERS_OPTION                                                                             \
    "  -p, --workers N      worker threads, 1 to 64; without it: the CPUs that the process may "   \
    "use\n"

static const struct cli_command commands[] = {
    {"dev", "center and engine in one process, for development",
     "A folder `web` beside the first server's entry script is served on the engine API's port.\n"
     "Scripts are loaded again within a second of being saved.\n\n" FILE_OPTION WORKERS_OPTION,
     run_engine},
    {"single", "center and engine in one process, for production",
     "SIGTERM and SIGINT end it after its connections have been drained.\n\n" FILE_OPTION
         WORKERS_OPTION,
     run_engine},
    {"center", "the center alone (not in this version)",
     "Comes with the mesh between nodes; use single.\n", run_role},
    {"engine", "the engine alone (not in this version)",
     "Comes with the mesh between nodes; use single.\n", run_role},
    {"check", "checks a configuration and its scripts",
     "Loads every entry script in a VM of its own and prints what would be listened on.\n"
     "Ends with status 0 when all is well, 78 when the configuration is wrong.\n\n" FILE_OPTION,
     run_check},
    {"version", "prints the version", "Also those of the libraries that it was built with.\n",
     run_version},
    {"help", "prints this, or the help of a command", "  engine help COMMAND\n", run_help},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static int print_usage(void)
{
    puts("Usage: engine COMMAND [OPTIONS]\n\nCommands:");
    for (const struct cli_command *command = commands; command < commands + COMMANDS; command++)
        printf("  %-10s %s\n", command->name, command->summary);
    fputs("\nOptions:\n" FILE_OPTION WORKERS_OPTION "  -h, --help           what a command does\n\n"
          "Start with: engine dev -f conf/connmix.yaml\n",
          stdout);
    return EX_OK;
}

static int print_help(const struct cli_command *command)
{
    printf("Usage: engine %s [OPTIONS]\n\n%s: %s.\n%s", command->name, command->name,
           command->summary, command->help);
    return EX_OK;
}

/* ---- actions ---- */

static void print_report(bool is_error, const char *text, void *data)
{
    (void)is_error;
    (void)data;
    fprintf(stderr, "%s\n", text);
}

/* Returns NULL, with the status to end with, after a line on standard error. */
static struct config *load(const struct arguments *arguments, int *status)
{
    const char *name = arguments->command->name;
    if (!arguments->file) {
        fprintf(stderr, "engine: %s needs a configuration: engine %s -f conf/connmix.yaml\n", name,
                name);
        *status = EX_USAGE;
        return NULL;
    }
    *status = EX_CONFIG;
    return config_load(arguments->file, print_report, NULL);
}

static int run_engine(const struct arguments *arguments)
{
    int status;
    struct config *config = load(arguments, &status);
    if (!config)
        return status;
    struct engine_options options = {
        .dev = strcmp(arguments->command->name, "dev") == 0,
        .workers = arguments->workers,
    };
    status = engine_run(config, &options);
    config_unref(config);
    return status;
}

static int run_check(const struct arguments *arguments)
{
    int status;
    struct config *config = load(arguments, &status);
    if (!config)
        return status;
    status = engine_check(config);
    config_unref(config);
    return status;
}

static int run_role(const struct arguments *arguments)
{
    fprintf(stderr,
            "engine: the command '%s' comes with the mesh between nodes, which this version does "
            "not have; use single\n",
            arguments->command->name);
    return EX_USAGE;
}

static int run_version(const struct arguments *arguments)
{
    (void)arguments;
    printf("mixengine %s\n", MIXENGINE_VERSION);
    printf("libuv %s\n", uv_version_string());
    printf("libwebsockets %d.%d.%d\n", LWS_LIBRARY_VERSION_MAJOR, LWS_LIBRARY_VERSION_MINOR,
           LWS_LIBRARY_VERSION_PATCH);
    printf("libyaml %s\n", yaml_get_version_string());
    return EX_OK;
}

static int run_help(const struct arguments *arguments)
{
    (void)arguments;
    return print_usage();
}

/* ---- the command line ---- */

static int usage_error(void)
{
    fputs("Try: engine --help\n", stderr);
    return EX_USAGE;
}

static const struct cli_command *find_command(const char *name)
{
    for (const struct cli_command *command = commands; command < commands + COMMANDS; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

static int unknown_command(const char *name)
{
    const struct cli_command *nearest = commands;
    for (const struct cli_command *command = commands; command < commands + COMMANDS; command++)
        if (edit_distance(name, command->name) < edit_distance(name, nearest->name))
            nearest = command;
    fprintf(stderr, "engine: unknown command '%s'; the nearest known one is '%s'\n", name,
            nearest->name);
    return usage_error();
}

/* False after a line on standard error. */
static bool take_workers(struct arguments *arguments, const char *text)
{
    uint64_t workers;
    if (!config_value_number(text, &workers) || workers < 1 || workers > WORKERS_MAX) {
        fprintf(stderr, "engine: -p: found '%s'; allowed is a whole number from 1 to %d\n", text,
                WORKERS_MAX);
        return false;
    }
    arguments->workers = (int)workers;
    return true;
}

/* False after a line on standard error. */
static bool take_options(struct arguments *arguments, int argc, char **argv)
{
    static const struct option options[] = {
        {"file", required_argument, NULL, 'f'},
        {"workers", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    bool good = true;
    int option;
    while (good && (option = getopt_long(argc, argv, "f:p:h", options, NULL)) != -1) {
        if (option == 'f')
            arguments->file = optarg;
        else if (option == 'p')
            good = take_workers(arguments, optarg);
        else if (option == 'h')
            arguments->help = true;
        else
            good = false;
    }
    return good;
}

int cli_main(int argc, char **argv)
{
    struct arguments arguments = {0};
    if (!take_options(&arguments, argc, argv))
        return usage_error();
    if (optind == argc) {
        if (arguments.help)
            return print_usage();
        fputs("engine: a command is missing\n", stderr);
        return usage_error();
    }
    bool about = strcmp(argv[optind], "help") == 0 && optind + 1 < argc;
    const char *name = argv[about ? ++optind : optind];
    arguments.command = find_command(name);
    if (!arguments.command)
        return unknown_command(name);
    if (optind + 1 < argc) {
        fprintf(stderr, "engine: '%s' is one word too many\n", argv[optind + 1]);
        return usage_error();
    }
    return arguments.help || about ? print_help(arguments.command)
                                   : arguments.command->run(&arguments);
}
