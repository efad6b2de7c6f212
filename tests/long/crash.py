"""Kill a run again and again; it must end as if nothing had happened.

The quickstart's model is trained twice on the handwritten digits: once
undisturbed, once killed with SIGKILL and resumed. Both must end with the same
student, teacher, optimizer and fairness average, bit for bit. The average
runs over passes of the data, and checkpoints fall within passes, so that it
has a past to lose.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config

from must_mm.checkpoints.plain import load_tensors
from must_mm.checkpoints.resume import find_resumable
from must_mm.checkpoints.whole_file import PARTIAL
from must_mm.quickstart.run import options
from must_mm.quickstart.target import write_digits
from must_mm.quickstart.tiny_clip import BATCH_SIZE, train_tiny_clip
from must_mm.utils.paths import config_path, tool_path

#: Share of the kills while training, while a checkpoint is being written, and
#: while the process starts or resumes.
SHARES = {'training': 0.5, 'writing': 0.35, 'starting': 0.15}
ITERATION = 'Iter(train)'  # logged after each one
RESUMED = re.compile(r'resumed epoch: \d+, iter: (\d+)')
CHECKPOINT = 'iter_{}.pth'


@dataclass
class Kill:
    """One kill.

    Attributes:
        aim: A key of :data:`SHARES`.
        seconds: From the start of the process to the kill.
        writing: Whether a checkpoint was half written at that moment.
        newest: Iteration of the newest checkpoint that the kill left; 0
            without any.
        resumed: Iteration that the next process went on from, as it logged;
            ``None`` if it did not: there was no checkpoint yet, or it was
            killed before.
    """

    aim: str
    seconds: float
    writing: bool
    newest: int
    resumed: int | None = None


def write_config(root: Path, iterations: int, every: int, seed: int) -> Path:
    """Write the quickstart's config for this test.

    By iterations, not epochs; no validation; a running average of the
    fairness loss; several loader workers.

    Args:
        root: Folder with the quickstart's start and digits.
        iterations: Length of the run.
        every: Iterations from checkpoint to checkpoint.
        seed: Seed of the run.
    """
    cfg = Config.fromfile(config_path('must/quickstart_digits.py'))
    cfg.merge_from_dict(
        options(root)
        | {
            'model.head.fairness.moving_average': True,
            # 50 iterations a pass
            'train_dataloader.batch_size': 8,
            'train_dataloader.dataset.indices': 400,
            'train_dataloader.num_workers': 2,
            'train_cfg': dict(
                _delete_=True, by_epoch=False, max_iters=iterations
            ),
            'param_scheduler': dict(
                by_epoch=False, T_max=iterations, convert_to_iter_based=False
            ),
            'default_hooks.checkpoint': dict(by_epoch=False, interval=every),
            'default_hooks.logger.interval': 1,
            'log_processor': dict(by_epoch=False),
            'randomness.seed': seed,
        }
        | {
            f'{phase}_{part}': None
            for phase in ('val', 'test')
            for part in ('dataloader', 'evaluator', 'cfg')
        }
    )
    path = root / 'crash_test.py'
    cfg.dump(path)
    return path


def start(config: Path, work_dir: Path, log: Path) -> subprocess.Popen:
    """Start ``tools/train.py --resume`` in a process group of its own."""
    with open(log, 'wb') as output:
        return subprocess.Popen(
            [
                sys.executable,
                str(tool_path('train.py')),
                str(config),
                f'--work-dir={work_dir}',
                '--resume',
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(process: subprocess.Popen, log: Path) -> None:
    """Wait for a run that nobody kills.

    Raises:
        RuntimeError: If it fails, with the end of its output.
    """
    if process.wait():
        raise RuntimeError(f'{log}: {log.read_text()[-2000:]}')


def wait_until(condition, process: subprocess.Popen) -> float | None:
    """Wait for a condition.

    Returns:
        The moment, on the monotonic clock; ``None`` if the process ended.
    """
    while process.poll() is None:
        if condition():
            return time.monotonic()
        time.sleep(0.001)
    return None


def partials(work_dir: Path) -> list[Path]:
    """Checkpoints that are being written, or were when a kill came."""
    return list(work_dir.glob(f'.*.pth.*{PARTIAL}'))


def kill_once(
    process: subprocess.Popen,
    log: Path,
    work_dir: Path,
    aim: str,
    iterations: int,
    delay: float,
) -> Kill | None:
    """Kill a process and its loader workers.

    Args:
        process: A process from :func:`start`.
        log: Where its output goes.
        work_dir: Folder of the run.
        aim: A key of :data:`SHARES`.
        iterations: How many to wait for, unless it is ``'starting'``.
        delay: Seconds to wait after that; for ``'writing'``, until the next
            checkpoint after that.

    Returns:
        The kill; ``None`` if the process ended before it.
    """
    begin = since = time.monotonic()
    if aim != 'starting':
        since = wait_until(
            lambda: log.read_text().count(ITERATION) >= iterations, process
        )
        if since is None:
            return None
    ready = wait_until(lambda: time.monotonic() > since + delay, process)
    # what an earlier kill has left is removed before the training starts
    if ready and aim == 'writing':
        ready = wait_until(lambda: partials(work_dir), process)
    if ready is None:
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return Kill(
        aim,
        time.monotonic() - begin,
        aim != 'starting' and bool(partials(work_dir)),
        newest_iteration(work_dir),
    )


def newest_iteration(work_dir: Path) -> int:
    """Iteration of the newest file of a checkpoint, whole or not; or 0."""
    files = work_dir.glob(CHECKPOINT.format('*'))
    return max((int(file.stem.split('_')[1]) for file in files), default=0)


def draw_aims(kills: int, rng: random.Random) -> list[str]:
    """Draw what each kill aims at; one write at least."""
    aims = rng.choices(list(SHARES), SHARES.values(), k=kills)
    return aims if 'writing' in aims else [*aims[:-1], 'writing']


def run_and_kill(
    config: Path,
    work_dir: Path,
    aims: Sequence[str],
    iterations: int,
    seconds: tuple[float, float],
    rng: random.Random,
    report: Callable[[Kill], None],
) -> None:
    """Train, with kills at random moments, to the end.

    Args:
        config: See :func:`write_config`.
        work_dir: Folder of the run.
        aims: What each kill aims at.
        iterations: Length of the run.
        seconds: How long an undisturbed run takes to start, and for an
            iteration.
        rng: Source of the moments: even over the start; or even over this
            process' share of the iterations that are left, and then over one
            iteration.
        report: Called with each kill.

    Raises:
        RuntimeError: If a process fails.
    """
    last = None
    for attempt, aim in enumerate([*aims, None]):
        log = work_dir.parent / f'{work_dir.name}_{attempt}.log'
        left = iterations - newest_iteration(work_dir)
        process = start(config, work_dir, log)
        kill = None
        if aim is not None:
            share = left // (len(aims) - attempt + 1)
            kill = kill_once(
                process,
                log,
                work_dir,
                aim,
                rng.randint(1, max(share, 1)),
                rng.uniform(0, seconds[aim != 'starting']),
            )
        if kill is None:
            finish(process, log)
        resumed = RESUMED.search(log.read_text())
        if last is not None:
            # killed while it starts, a process may not have said it yet
            last.resumed = int(resumed[1]) if resumed else None
            report(last)
        if kill is None:
            break
        last = kill


def split_state(checkpoint: Mapping) -> dict[str, object]:
    """The parts of a run's state that must survive."""
    state = checkpoint['state_dict']
    average = 'head.fairness_loss.log_average'
    return {
        'student': {
            name: value
            for name, value in state.items()
            if not name.startswith('teacher.') and name != average
        },
        'teacher': {
            name: value
            for name, value in state.items()
            if name.startswith('teacher.')
        },
        'optimizer': checkpoint['optimizer'],
        'fairness average': state[average],
        'schedules': checkpoint['param_schedulers'],
        "teacher's steps": checkpoint['ema_teacher'],
    }


def equal_bits(one, other) -> bool:
    """Whether two states of plain data are equal, tensors bit for bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and one.numpy().tobytes() == other.numpy().tobytes()
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            equal_bits(one[key], other[key]) for key in one
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal_bits, one, other))
    return one == other


def crash_test(
    root: str | Path,
    kills: int = 20,
    seed: int = 0,
    iterations: int = 120,
    every: int = 3,
) -> bool:
    """Run the test and print a table of the kills and the comparison.

    Args:
        root: Folder of the test; runs of an earlier one are removed.
        kills: How often the second run is killed.
        seed: Seed of the runs and of the moments.
        iterations: Length of the run.
        every: Iterations from checkpoint to checkpoint.

    Returns:
        Whether all kills were made, both runs ended equal bit for bit, and
        no half-written or outdated file is left.

    Raises:
        ValueError: If there is no kill, or no checkpoint before the last.
        RuntimeError: If a process fails.
    """
    if kills < 1 or not 0 < every < iterations:
        raise ValueError(
            '--kills must be at least 1, and --every positive and less than '
            f'--iterations, got {kills}, {every} and {iterations}'
        )
    root = Path(root).resolve()
    undisturbed, killed = root / 'undisturbed', root / 'killed'
    for folder in (undisturbed, killed):
        shutil.rmtree(folder, ignore_errors=True)
    # the weights need not be good, only the same twice
    train_tiny_clip(root / 'start', seed, renderings=BATCH_SIZE, epochs=1)
    write_digits(root / 'digits', 32)
    config = write_config(root, iterations, every, seed)

    log = root / 'undisturbed.log'
    begin = time.monotonic()
    process = start(config, undisturbed, log)
    started = wait_until(lambda: ITERATION in log.read_text(), process)
    finish(process, log)
    training = time.monotonic() - started
    print(
        f'undisturbed: {iterations} iterations, a checkpoint every {every}; '
        f'{started - begin:.1f} s to start, {training:.1f} s to train',
        flush=True,
    )
    print('kill  aimed at  after s  half written  newest  resumed from')
    rng = random.Random(seed)
    made = []

    def report(kill: Kill) -> None:
        made.append(kill)
        print(
            f'{len(made):4}  {kill.aim:8} {kill.seconds:8.2f}  '
            f'{"yes" if kill.writing else "no":12}  {kill.newest:6}  '
            f'{"-" if kill.resumed is None else kill.resumed:>12}',
            flush=True,
        )

    aims = draw_aims(kills, rng)
    seconds = started - begin, training / iterations
    run_and_kill(config, killed, aims, iterations, seconds, rng, report)
    verdicts = {
        f'{len(made)} of {kills} kills, '
        f'{sum(kill.writing for kill in made)} in a write': len(made) == kills
    }
    last = CHECKPOINT.format(iterations)
    states = [
        split_state(load_tensors(folder / last))
        for folder in (undisturbed, killed)
    ]
    for part in states[0]:
        verdicts[f'{part} equal bit for bit'] = equal_bits(
            *(state[part] for state in states)
        )
    kept = [
        sorted(path.name for path in folder.glob('*.pth'))
        for folder in (undisturbed, killed)
    ]
    verdicts['no half-written file is left'] = not partials(killed)
    verdicts['the same checkpoints are kept'] = kept[0] == kept[1]
    verdicts['the newest one is found'] = find_resumable(killed) == (
        str(killed / last),
        [],
    )
    for verdict, holds in verdicts.items():
        print(f'{verdict:40} {"ok" if holds else "FAILED"}')
    return all(verdicts.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``python -m tests.long.crash``; 0 if all is equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--work-dir', default='work_dirs/crash_test')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--iterations', type=int, default=120)
    parser.add_argument(
        '--every', type=int, default=3, help='iterations to a checkpoint'
    )
    args = parser.parse_args(argv)
    return int(
        not crash_test(
            args.work_dir, args.kills, args.seed, args.iterations, args.every
        )
    )


if __name__ == '__main__':
    sys.exit(main())
