"""Damaged and hostile checkpoints: python -m tests.long.fuzz_checkpoints

Each file is made from a good one: cut off, bits flipped, parts missing,
renamed, reshaped or of another type, or with a pickle that would run code.
It is read in a child process by everything that reads checkpoints. Either the
file loads and holds plain data, or a ValueError names it; the code is never
run, and the process neither crashes, nor hangs, nor takes all memory.
"""

import argparse
import contextlib
import copy
import io
import json
import logging
import operator
import os
import pickle
import random
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import init_default_scope
from mmpretrain import get_model
from safetensors.torch import save_file

import must_mm  # noqa: F401
from must_mm.checkpoints.plain import load_tensors
from must_mm.checkpoints.resume import check_resumable
from must_mm.weights.start_file import classifier_config, load_classifier
from tests.tiny import build, tiny_config, train, write_images

CPU_SECONDS = 10  # for one reading; the process is killed beyond
WALL_SECONDS = 120  # of one that waits, on a busy machine too
MEMORY = 1 << 30  # bytes that loading small files may take on top
BATCH = 100  # files read by one child process
KINDS = ('truncated', 'bits', 'keys', 'code')
ARCHITECTURE = dict(
    embed_dim=8,
    quick_gelu=True,
    vision_cfg=dict(
        image_size=16, layers=1, width=16, head_width=8, patch_size=8
    ),
    text_cfg=dict(),
)


# ------------------------------------------------------------ hostile pickles


class Runs:
    """Unpickling it calls a function, which may be the result of a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call

    def __call__(self):
        """Only what can be called is pickled as a function."""


def payloads(mark: Path) -> dict[str, object]:
    """Objects whose unpickling makes the file ``mark``, each in its way."""
    path, touch = str(mark), f"open({str(mark)!r}, 'w')"
    other = Path(path).with_name('payload.py').absolute()
    if other.parent.is_dir():
        other.write_text(touch)
    return {
        'os.system': Runs(os.system, f'touch {path}'),
        'os.mkdir': Runs(os.mkdir, path),
        'subprocess': Runs(subprocess.check_call, ['touch', path]),
        'eval': Runs(eval, touch),
        'exec': Runs(exec, touch),
        'open': Runs(open, path, 'w'),
        'io.FileIO': Runs(io.FileIO, path, 'w'),
        'runpy': Runs(runpy.run_path, str(other)),
        'getattr chain': Runs(Runs(getattr, Path(path), 'touch')),
        'import chain': Runs(
            Runs(getattr, Runs(__import__, 'os'), 'mkdir'), path
        ),
        'methodcaller': Runs(operator.methodcaller('touch'), Path(path)),
        'map': Runs(list, Runs(map, eval, [touch])),
        'nested pickle': Runs(pickle.loads, pickle.dumps(Runs(eval, touch))),
        'torch.load': Runs(nested_load, touch),
        'torch.hub': Runs(
            torch.hub.download_url_to_file, other.as_uri(), path, None, False
        ),
        'numpy': Runs(np.memmap, path, 'u1', 'w+', 0, (1,)),
        'state': HasState(touch),
    }


def nested_load(touch: str):
    """Stand-in for a helper that loads unprotected."""
    return eval(touch)


class HasState:
    """Unpickling it calls ``__setstate__``."""

    def __init__(self, touch):
        self.touch = touch

    def __setstate__(self, state):
        eval(state['touch'])


# ----------------------------------------------------------------- good files


def small_config(folder: Path, name: str) -> Config:
    """A run of one layer and one epoch, without validation."""
    cfg = tiny_config(folder / 'data', folder / name)
    cfg.model.backbone.arch.num_layers = 1
    cfg.train_cfg.max_epochs = 1
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.log_level = 'CRITICAL'
    return cfg


def good_contents(folder: Path) -> dict[str, dict]:
    """What is saved: a run, its weights, a converted classifier."""
    write_images(folder / 'data')
    train(small_config(folder, 'run'))
    run = load_tensors(folder / 'run' / 'epoch_1.pth')
    how = dict(
        mean=[0.5] * 3,
        std=[0.5] * 3,
        interpolation='bicubic',
        resize_mode='shortest',
    )
    config = classifier_config(ARCHITECTURE, 3, how)
    classifier = get_model(Config(config)).state_dict()
    return {
        'run': run,
        'weights': dict(run['state_dict']),
        'classifier': dict(
            state_dict=classifier,
            meta=dict(
                dataset_meta=dict(classes=['a', 'b', 'c']), config=config
            ),
        ),
    }


def write(content: object, path: Path, form: str) -> None:
    """Save in one of the forms that checkpoints come in."""
    if form == 'safetensors':
        save_file({k: v.contiguous() for k, v in content.items()}, path)
    elif form == 'pickle':
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == 'zip')


#: Content and form of the files that are damaged.
FILES = (
    ('run', 'zip'),
    ('run', 'legacy'),
    ('weights', 'zip'),
    ('weights', 'safetensors'),
    ('classifier', 'zip'),
)


# --------------------------------------------------------------------- damage


def truncate(data: bytes, rng: random.Random) -> bytes:
    """Cut anywhere, near the ends more often."""
    near = min(2000, len(data))
    return data[
        : rng.choice(
            [
                rng.randrange(len(data)),
                rng.randrange(near),
                len(data) - 1 - rng.randrange(near - 1),
            ]
        )
    ]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    """Flip 1 to 16 bits: anywhere, or in the structure at the ends."""
    data = bytearray(data)
    near = min(6000, len(data))
    start, stop = rng.choice(
        [(0, len(data)), (0, near), (len(data) - near, len(data))]
    )
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        data[rng.randrange(start, stop)] ^= 1 << rng.randrange(8)
    return bytes(data)


STRANGE = (
    None, 0, -1, 1 << 70, float('nan'), 'text', '', b'bytes', [], {}, (),
    {0: 1}, torch.tensor(1), torch.zeros(0), torch.zeros(2, 3),
    torch.full((1,), float('inf')), torch.zeros(3, dtype=torch.int8),
)  # fmt: skip


def places(content: object) -> list[tuple]:
    """Every container within a content, with each of its keys."""
    found, todo = [], [content]
    while todo:
        container = todo.pop()
        if isinstance(container, dict):
            keys = list(container)
        elif isinstance(container, list):
            keys = range(len(container))
        else:
            continue
        found += [(container, key) for key in keys]
        todo += [container[key] for key in keys]
    return found


def shallow_copy(content: object) -> object:
    """Copy the containers, share the tensors."""
    if isinstance(content, dict):
        return {key: shallow_copy(value) for key, value in content.items()}
    if isinstance(content, list):
        return [shallow_copy(value) for value in content]
    return content


def pick(content: dict, rng: random.Random) -> tuple:
    """Draw a place; the few outer ones as often as the many inner ones."""
    outer = [(content, key) for key in content]
    return rng.choice(rng.choice([outer, places(content)]))


def change_keys(content: dict, rng: random.Random) -> object:
    """Delete, rename, reshape or replace, one to three times."""
    if rng.random() < 0.02:
        return rng.choice(STRANGE)
    content = shallow_copy(content)
    for _ in range(rng.choice([1, 1, 2, 3])):
        if not content:
            break
        container, key = pick(content, rng)
        value = container[key]
        change = rng.choice(['delete', 'rename', 'reshape', 'replace'])
        if change == 'delete' or change == 'rename':
            del container[key]
            if change == 'rename' and isinstance(container, dict):
                container[rng.choice([f'{key}x', 0, '', None])] = value
        elif change == 'reshape' and isinstance(value, torch.Tensor):
            container[key] = rng.choice(
                [value[None], value.flatten()[:-1], value.half(), value.long()]
            )
        else:
            container[key] = copy.deepcopy(rng.choice(STRANGE))
    return content


def insert_code(content: dict, mark: Path, rng: random.Random) -> object:
    """Put a hostile object at the root or anywhere within."""
    payload = rng.choice(list(payloads(mark).values()))
    if rng.random() < 0.1:
        return payload
    content = shallow_copy(content)
    container, key = pick(content, rng)
    if isinstance(container, dict) and rng.random() < 0.5:
        key = 'extra'
    container[key] = rng.choice(
        [payload, [payload], dict(x=payload), (1, payload)]
    )
    return content


def make_file(
    number: int, seed: int, contents: dict, folder: Path
) -> tuple[Path, str]:
    """Make the damaged file of a number, always the same.

    Returns:
        The file and what it is.
    """
    rng = random.Random(f'{seed} {number}')
    kind = KINDS[number % len(KINDS)]
    name, form = FILES[number // len(KINDS) % len(FILES)]
    content = contents[name]
    suffix = 'safetensors' if form == 'safetensors' else 'pth'
    path = folder / f'file_{number}.{suffix}'
    if kind == 'code':
        content = insert_code(content, folder / 'mark', rng)
        # code cannot be in safetensors, but a pickle can have its suffix
        form = rng.choice(['zip', 'legacy', 'pickle'])
    elif kind == 'keys':
        content = change_keys(content, rng)
        if form == 'safetensors':
            form = 'legacy'
    write(content, path, form)
    if kind in ('truncated', 'bits'):
        damage = truncate if kind == 'truncated' else flip_bits
        path.write_bytes(damage(path.read_bytes(), rng))
    return path, f'{kind} {name}.{form}'


# -------------------------------------------------------------------- reading

PLAIN = (
    type(None), bool, int, float, complex, str, bytes, bytearray,
    torch.Tensor, torch.Size, torch.dtype, torch.device,
    np.ndarray, np.generic, np.dtype, HistoryBuffer,
)  # fmt: skip


def strangers(content: object) -> list[str]:
    """Types within a content that are neither containers nor plain."""
    if isinstance(content, dict):
        content = [*content.keys(), *content.values()]
    if isinstance(content, (list, tuple, set, frozenset)):
        return [name for value in content for name in strangers(value)]
    return [] if isinstance(content, PLAIN) else [type(content).__name__]


class Readers:
    """Everything that reads a checkpoint, on one tiny run."""

    def __init__(self, folder: Path) -> None:
        self.runner = runner = build(small_config(folder, 'reader'))
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.param_schedulers = runner.build_param_scheduler(
            runner.param_schedulers
        )
        runner.model.init_weights()

    def tensors(self, path: str) -> None:
        found = strangers(load_tensors(path))
        assert not found, f'not plain: {found}'

    def load_from(self, path: str) -> None:
        self.runner._resume, self.runner._load_from = False, path
        self.runner.load_checkpoint(path)

    def resume(self, path: str) -> None:
        self.runner._resume, self.runner._load_from = True, path
        check_resumable(path)
        self.runner.resume(path)

    def classifier(self, path: str) -> None:
        load_classifier(path)


#: Who reads which files.
READERS = dict(
    run=('tensors', 'resume'),
    weights=('tensors', 'load_from', 'resume'),
    classifier=('tensors', 'classifier'),
)


def read(readers: Readers, reader: str, path: Path) -> tuple[str, str]:
    """Read a file; return the outcome and, if it is a fault, its reason."""
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            getattr(readers, reader)(str(path))
    except ValueError as error:
        if path.name in str(error) or 'of another architecture' in str(error):
            return 'refused', ''
        return 'fault', f'{reader}: names no file: {error}'
    except BaseException as error:
        return 'fault', f'{reader}: {type(error).__name__}: {error}'
    return 'loaded', ''


def child(numbers, seed, contents, readers, folder, pipe) -> None:
    """Make and read files; report each before and after."""
    in_use = int(
        Path('/proc/self/status').read_text().split('VmData:')[1].split()[0]
    )
    limit = 1024 * in_use + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    logging.disable(logging.CRITICAL)
    with os.fdopen(pipe, 'w') as report:

        def say(**line):
            report.write(json.dumps(line) + '\n')
            report.flush()

        for number in numbers:
            path, what = make_file(number, seed, contents, folder)
            say(begin=number, what=what)
            for reader in READERS[what.split()[1].split('.')[0]]:
                signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
                signal.alarm(WALL_SECONDS)
                outcome, reason = read(readers, reader, path)
                if (folder / 'mark').exists():
                    outcome, reason = 'fault', f'{reader}: code was run'
                    os.system(f'rm -rf {folder / "mark"}')
                say(end=number, what=what, outcome=outcome, reason=reason)
            path.unlink()
    os._exit(0)


def fuzz(count: int, seed: int = 0, first: int = 0) -> tuple[Counter, list]:
    """Read damaged files.

    Args:
        count: Number of files.
        seed: Seed of the damage.
        first: Number of the first file, to repeat a fault.

    Returns:
        Number of readings by (kind of file, outcome), and the faults.
    """
    outcomes, faults = Counter(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contents = good_contents(folder)
        readers = Readers(folder)
        number, end = first, first + count
        while number < end:
            batch = range(number, min(number + BATCH, end))
            source, sink = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(source)
                try:
                    child(batch, seed, contents, readers, folder, sink)
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(1)
            os.close(sink)
            now = ''
            with os.fdopen(source) as report:
                for text in report:
                    line = json.loads(text)
                    now = line['what']
                    number = line.get('begin', number)
                    if 'end' in line:
                        outcomes[line['what'].split()[0], line['outcome']] += 1
                        if line['reason']:
                            faults.append((number, now, line['reason']))
            _, status = os.waitpid(pid, 0)
            if status:
                faults.append((number, now, f'process ended with {status}'))
            number += 1
    return outcomes, faults


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=10000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--first', type=int, default=0)
    args = parser.parse_args(argv)
    init_default_scope('mmpretrain')
    torch.set_num_threads(1)
    outcomes, faults = fuzz(args.count, args.seed, args.first)
    for (kind, outcome), number in sorted(outcomes.items()):
        print(f'{kind:10} {outcome:8} {number:7} readings')
    for number, what, reason in faults[:50]:
        print(f'FAULT file {number} ({what}): {reason[:300]}')
    print(f'{args.count} files, {len(faults)} faults')
    return int(bool(faults))


if __name__ == '__main__':
    sys.exit(main())
