#include "mode.h"

static const struct role idle_role = {.size = sizeof(struct client)};

static void plan(struct run *run)
{
    run->main.role = &idle_role;
}

static struct process_figures look(const struct run *run)
{
    const struct options *options = run->options;
    return process_look(options->pids, options->pid_count, options->children);
}

/* CPU time is told of the second half, when what connecting left behind is done. */
static void measure(struct run *run)
{
    run_sleep(run->options->hold / 2);
    run_measure(run);
    run_sleep(run->options->hold / 2);
    run_done(run);
    if (run->options->hold == 0)
        run->begin = run->before; /* what is measured is the connecting */
    run->kernel_end = process_look_at_kernel();
    run_sleep(run->options->settle);
    run->settled_server = look(run);
}

static double each(uint64_t after, uint64_t before, double connections)
{
    return ((double)after - (double)before) / connections;
}

static void report_memory(const struct run *run, struct report *report, double connections)
{
    const struct process_figures *before = &run->before.server, *end = &run->end.server;
    report_count(report, "server_procs", end->processes);
    report_count(report, "rss_before", before->rss);
    report_count(report, "rss_after", end->rss);
    report_number(report, "rss_per_conn", each(end->rss, before->rss, connections), "bytes");
    report_number(report, "pss_per_conn", each(end->pss, before->pss, connections), "bytes");
    report_number(report, "private_per_conn",
                  each(end->private_bytes, before->private_bytes, connections), "bytes");
}

static void report_settled(const struct run *run, struct report *report, double connections)
{
    const struct process_figures *before = &run->before.server, *settled = &run->settled_server;
    report_number(report, "settle_s", run->options->settle, "s");
    if (run->options->pid_count == 0)
        return;
    report_count(report, "settled_rss", settled->rss);
    report_number(report, "settled_rss_per_conn", each(settled->rss, before->rss, connections),
                  "bytes");
    report_number(report, "settled_pss_per_conn", each(settled->pss, before->pss, connections),
                  "bytes");
    report_number(report, "settled_private_per_conn",
                  each(settled->private_bytes, before->private_bytes, connections), "bytes");
}

static bool report(const struct run *run, struct report *report)
{
    const struct options *options = run->options;
    double connections = (double)tally_get(run->total, COUNT_OPEN);
    uint64_t alive = tally_get(run->total, COUNT_ALIVE);
    report_number(report, "hold_s", options->hold, "s");
    if (options->pid_count)
        report_memory(run, report, connections);
    if (options->settle > 0)
        report_settled(run, report, connections);
    report_number(report, "kernel_slab_per_conn_pair",
                  each(run->kernel_end.slab, run->kernel_before.slab, connections),
                  "bytes (both ends; whole machine)");
    report_number(report, "kernel_tcpmem_per_conn",
                  each(run->kernel_end.tcp_memory, run->kernel_before.tcp_memory, connections),
                  "bytes (socket buffers; whole machine)");
    report_count(report, "alive_at_end", alive);
    return alive == options->connections;
}

const struct mode mode_idle = {
    .name = "idle",
    .summary = "connects (and logs in, with --pre), then holds the connections",
    .plan = plan,
    .measure = measure,
    .report = report,
};
