<?php

/*
 * What the applications in this folder have in common: a unit of work, and the journals that tests read.
 *
 * Environment:
 *   APP_JOURNAL  file that gets one JSON line for each handled message: id, pid, slot, run, start, end (Unix seconds)
 *   APP_RUNS     file that gets one JSON line when a worker starts and one when it ends of its own will: pid, slot,
 *                run, event (start or end), code; a run without an end was killed or called exit()
 *   APP_WORK_MS  milliseconds a message takes (0)
 */

/**
 * Appends one JSON line with the identity of this process to the file that the environment names. One write to a
 * file opened with O_APPEND: lines of several workers never mix.
 */
function note(string $variable, array $what): void
{
    $file = (string) getenv($variable);
    if ('' === $file) {
        return;
    }
    $who = ['pid' => getmypid(), 'slot' => (string) getenv('QSUPER_SLOT'), 'run' => (string) getenv('QSUPER_RUN_ID')];
    if (false === file_put_contents($file, json_encode($who + $what)."\n", \FILE_APPEND)) {
        throw new RuntimeException("cannot write $file");
    }
}

/** Handles one message; $exit ends the process with that code instead. */
function work(string $id, ?int $exit): void
{
    $start = microtime(true);
    if (null !== $exit) {
        exit($exit);
    }
    // A signal ends usleep early; the work goes on, as real work would.
    $until = $start + (int) getenv('APP_WORK_MS') / 1000;
    while (($left = $until - microtime(true)) > 0) {
        usleep((int) ceil($left * 1e6));
    }
    note('APP_JOURNAL', ['id' => $id, 'start' => $start, 'end' => microtime(true)]);
}

/** Runs a worker between its two lines of the journal and ends the process with its exit code. */
function noted(callable $worker): never
{
    note('APP_RUNS', ['event' => 'start']);
    $code = $worker();
    note('APP_RUNS', ['event' => 'end', 'code' => $code]);
    exit($code);
}
