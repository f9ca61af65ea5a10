"""Trains the methods of an experiment."""

import argparse
from functools import partial

from fas_jax.experiment.configuration import Experiment, experiment_main

OPTIONS = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
OPTIONS.add_argument("--list-tasks", action="store_true")
OPTIONS.add_argument("--task", type=int)
OPTIONS.add_argument("--dry-run", action="store_true")


def main(settings: Experiment, asked: argparse.Namespace) -> int:
    """Trains an experiment's methods, after preparing and extracting what is missing; evaluates nothing.

    A run that is finished takes further methods: add a table [methods.NAME], and only that one is trained.

    --dry-run prints what training would take (fittings, steps, hours, disk), and does nothing. --list-tasks prints the
    tasks that independent jobs can do (a method, a protocol, a seed), and --task N does the one of this number;
    fas-jax collect puts them together. Exit codes of --task: 0 done, 1 the training failed and its task is marked,
    2 an error to mend, 143 or 138 stopped by SIGTERM or SIGUSR1 (the same command goes on).
    """
    from fas_jax.experiment import dry_run, stages, tasks
    from fas_jax.runtime import devices

    if asked.dry_run:
        for line in dry_run.describe(settings):
            print(line)
        return 0
    if asked.list_tasks:
        every, known = tasks.list_tasks(settings)
        for each in every:
            after = f"after {tasks.numbers(each.after)}" if each.after else ""
            print("  ".join(filter(None, (str(each.number), each.method, each.plan, after, known.get(each.number)))))
        return 0
    if asked.task is not None:
        reason = tasks.run_task(settings, asked.task)
        if devices.is_first():
            print(f"task {asked.task} is done" + (f", and has failed: {reason}" if reason else ""), flush=True)
        return 1 if reason else 0
    run = stages.train(settings)
    if devices.is_first():
        count = sum(len(each) for each in run.fitted.detectors.values())
        print(f"{count} detectors are trained; fas-jax evaluate {run.folder} scores them.")
    return 0


command = partial(experiment_main, main, "quickstart", OPTIONS)
