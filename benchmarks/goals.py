"""Prints the project's goals for speed and memory with the latest figures.

    python -m benchmarks.goals

It measures nothing: it reads the figures that the benchmarks wrote under --scratch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import scale
from benchmarks.serving import equality, fuzz, latency, throughput, work_list

# The growth of a step is shown if it takes longer than this on the largest count. Shorter steps are
# mostly start-up.
_LONG_S = 5.0
# Steps whose time does not depend on the count: an epoch has at most 200 steps, and the number of
# images to check is fixed.
_CONSTANT = ('Trainer', 'ServingCheck')


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--scratch', type=Path, default=scale.SCRATCH, help='folder with the figures'
    )
    Console(width=140).print(table(parser.parse_args(argv).scratch))


def table(scratch: Path) -> Table:
    """A table with a row for each goal that has figures."""
    result = Table(box=None, pad_edge=False)
    for name in ('measure', 'goal', 'measured', 'on'):
        result.add_column(name)
    for name, reader in (
        ('scale', _scale),
        ('training', _training),
        ('evaluation', _evaluation),
        ('startup', _startup),
        ('tracing', _tracing),
        ('serving-equality', _equality),
        ('serving-latency', _latency),
        ('serving-throughput', _throughput),
        ('serving-fuzz', _fuzz),
        ('serving-kills', _kills),
        ('serving-outages', _outages),
        ('serving-work-list', _work_list),
    ):
        path = scratch / f'{name}.json'
        if path.exists():
            for row in reader(json.loads(path.read_text())):
                result.add_row(*row)
    return result


Row = tuple[str, str, str, str]


def _scale(figures: list[dict]) -> Iterator[Row]:
    counts = ', '.join(f'{row["films"]:,}' for row in figures)
    last = figures[-1]
    largest = f'{last["films"]:,} images'
    peaks = ', '.join(f'{row["peak_bytes"] / 1e9:.2f}' for row in figures)
    yield 'peak memory of any process of a run, GB', '≤ 8', peaks, f'{counts} images'
    yield 'data path over one plain pass', '≤ 4', f'{scale.data_path_ratio(last):.2f}', largest
    yield 'bytes per image after Transform', '≤ 25,000', f'{last["stored_bytes"]:,.0f}', largest
    yield 'fully cached second run, s', '≤ 25', f'{last["rerun_s"]:.1f}', largest
    if len(figures) > 1:
        exponents = {
            step: scale.growth(figures, [row['steps_s'][step] for row in figures])
            for step, seconds in last['steps_s'].items()
            if seconds > _LONG_S and step not in _CONSTANT
        }
        text = ', '.join(f'{step} {exponent:.2f}' for step, exponent in exponents.items())
        yield (
            "growth of a step's time, exponent",
            'linear: ≤ 1',
            text,
            f'{figures[-2]["films"]:,} to {largest}',
        )


def _training(figures: dict) -> Iterator[Row]:
    conditions = f'{figures["device"]}, batches of {figures["batch_size"]}'
    rates, step = figures['input'], figures['step']
    decode_rate = rates['decode_png alone']
    for name, goal in (('evaluation batches', '≥ 0.9'), ('training batches', '–')):
        yield (
            f'{name}, images/s over decode_png alone',
            goal,
            f'{rates[name] / decode_rate:.2f} ({rates[name]:,.0f} of {decode_rate:,.0f})',
            conditions,
        )
    ratio = step["the trainer's"] / step['bare fit on arrays']
    yield (
        'training step over bare Keras fit',
        '≤ 1.05',
        f'{ratio:.2f}',
        f'{figures["backbone"]}, {conditions}',
    )


def _evaluation(figures: dict) -> Iterator[Row]:
    conditions = f'{figures["films"]:,} images, {figures["backbone"]}'
    yield (
        'Evaluator over plain batched inference, time',
        '≤ 1.3',
        f'{figures["evaluator_s"] / figures["plain_s"]:.2f}',
        conditions,
    )
    peaks = [figures[f'{key}_peak_bytes'] / 1e9 for key in ('evaluator', 'plain')]
    memory = f'{peaks[0]:.2f}, plain {peaks[1]:.2f}'
    yield 'Evaluator, peak memory, GB', 'bounded', memory, conditions


def _startup(figures: dict) -> Iterator[Row]:
    yield 'cxr-triage --help, s', '< 0.5', f'{figures["cxr-triage --help"]["s"]:.2f}', ''
    reference = figures['import tensorflow']['s']
    yield (
        'start of a local run over import tensorflow',
        '–',
        f'{figures["start of a local run"]["s"] / reference:.2f}',
        '',
    )


def _tracing(figures: dict) -> Iterator[Row]:
    usual, ours = (sum(figures[variant].values()) for variant in ('usual', 'ours'))
    yield 'tracing, ours over usual', '–', f'{ours / usual:.2f}', figures['backbone']


def _equality(figures: dict) -> Iterator[Row]:
    differences = {name: row['difference'] for name, row in figures.items()}
    other_decoder = differences.pop(equality.OTHER_DECODER)
    images = max(row['images'] for row in figures.values())
    yield (
        'same image, largest difference from the session loader',
        f'≤ {equality.GOAL:.0e}',
        f'{max(differences.values()):.0e}',
        f'{images} images: {", ".join(differences)}',
    )
    yield '– as the PNG of another JPEG decoder', '–', f'{other_decoder:.2f}', f'{images} images'


def _latency(figures: dict) -> Iterator[Row]:
    for percentile, goal in latency.GOALS.items():
        yield (
            f'an image through the gateway over inference in process, {percentile}',
            f'≤ {goal:g}',
            f'{latency.ratio(figures, percentile):.2f}',
            'upload accepted until its answer is visible',
        )


def _throughput(figures: dict) -> Iterator[Row]:
    releases = ', '.join(figures['releases'])
    yield (
        'gateway over model server alone, images/s',
        f'≥ {throughput.GOAL:g}',
        f'{figures["gateway"] / figures["alone"]:.2f}; {len(figures["errors"])} errors',
        f'{figures["clients"]} clients, {figures["seconds"]:g} s, {releases}',
    )


def _fuzz(figures: dict) -> Iterator[Row]:
    yield (
        'malformed uploads: errors, slowest in s, memory in GB',
        f'0, ≤ {fuzz.SLOWEST_S:g}, ≤ {fuzz.PEAK_BYTES / 1e9:g}',
        f'{len(figures["problems"])}, {figures["slowest_s"]:.1f}, '
        f'{figures["peak_bytes"] / 1e9:.2f}',
        f'{sum(figures["statuses"].values()):,} requests',
    )


def _kills(figures: dict) -> Iterator[Row]:
    for database, row in figures.items():
        kills = ', '.join(f'{process} {count} times' for process, count in row['kills'].items())
        yield (
            'kill -9 under load: studies lost or answered twice',
            '0',
            f'{len(row["problems"])} of {row["accepted"]:,}',
            f'{database}: {kills}',
        )


def _outages(figures: dict) -> Iterator[Row]:
    for outage in figures.values():
        yield (
            'outage under load: studies lost or answered twice, other problems',
            '0',
            f'{len(outage["problems"])} of {outage["accepted"]:,}',
            f'{outage["what"]} for {outage["seconds"]:.0f} s',
        )


def _work_list(figures: dict) -> Iterator[Row]:
    for database, seconds in figures.items():
        yield (
            'slowest page of the work list, ms',
            f'≤ {1000 * work_list.GOAL_S:.0f}',
            f'{1000 * max(seconds.values()):.0f}',
            database,
        )


if __name__ == '__main__':
    main()
