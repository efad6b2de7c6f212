"""A long run on a folder full of faults: every one counted, memory flat."""

import argparse
import io
import json
import multiprocessing
import os
import struct
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image
from scipy.stats import linregress

from must_mm.engine.bad_images import BadImageHook
from must_mm.runs.arguments import positive
from must_mm.utils.paths import config_path

WIDTH, BATCH = 32, 4
EACH, ORDINARY = 4, 200
SAMPLE, PRINT = 10, 100
MIB = 2**20
COLUMNS = ('iteration', 'main MiB', 'workers MiB', 'unreadable')


# ------------------------------------------------------------------- images


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _bomb() -> bytes:
    """A PNG of a hundred bytes that announces 900 megapixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack('>I', zlib.crc32(name + body))
        return struct.pack('>I', len(body)) + name + body + checksum

    size = struct.pack('>IIBBBBB', 30000, 30000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(3 * 30000))
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', size)
        + chunk(b'IDAT', data)
        + chunk(b'IEND', b'')
    )


def file_contents(photo: Image.Image) -> tuple[dict, dict]:
    """One file of every kind, from one photograph.

    Args:
        photo: RGB.

    Returns:
        Names and contents of the files that can be read, and of those that
        cannot.
    """
    jpeg = _encoded(photo, 'JPEG')
    grey = np.asarray(photo.convert('L')).astype(np.uint16) * 257
    readable = {
        'cmyk.jpg': _encoded(photo.convert('CMYK'), 'JPEG'),
        'sixteen_bits.png': _encoded(Image.fromarray(grey), 'PNG'),
        'palette.png': _encoded(photo.convert('P'), 'PNG', transparency=0),
        'animated.gif': _encoded(
            photo, 'GIF', save_all=True, append_images=[photo.rotate(90)]
        ),
        'png_named.jpg': _encoded(photo, 'PNG'),
    }
    unreadable = {
        'truncated.jpg': jpeg[: len(jpeg) // 2],
        'empty.jpg': b'',
        'bomb.png': _bomb(),
        'text_named.jpg': b'this is no image\n' * 20,
    }
    return readable, unreadable


def write_folder(folder: Path, seed: int = 0) -> tuple[list[Path], set[Path]]:
    """Write ordinary photographs among files of every other kind.

    Returns:
        The ordinary files, and those that cannot be read.

    Raises:
        FileExistsError: If the folder is there already.
    """
    if folder.exists():
        raise FileExistsError(
            f'{folder} exists: remove it, or name another --work-dir'
        )
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)

    def photo() -> Image.Image:
        coarse = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((64, 48), Image.BICUBIC)

    ordinary, unreadable = [], set()
    for i in range(ORDINARY):
        ordinary.append(folder / f'{i:03d}.jpg')
        photo().save(ordinary[-1])
    for i in range(EACH):
        good, bad = file_contents(photo())
        for name, content in {**good, **bad}.items():
            path = folder / f'{rng.integers(1000):03d}_{i}_{name}'
            path.write_bytes(content)
            if name in bad:
                unreadable.add(path)
    return ordinary, unreadable


# ------------------------------------------------------------------- memory


def resident(pids: Iterable[int]) -> int:
    """Resident memory of some processes, in bytes, by Linux's ``/proc``."""
    page = os.sysconf('SC_PAGE_SIZE')
    return sum(
        page * int(Path(f'/proc/{pid}/statm').read_text().split()[1])
        for pid in pids
    )


@dataclass
class Growth:
    """A straight line through memory over iterations.

    Attributes:
        rate: MiB per 1,000 iterations.
        error: Half the width of its 95 % confidence interval, as for
            independent deviations from the line.
    """

    rate: float
    error: float

    def is_within(self, tolerance: float) -> bool:
        """Whether even the upper end of the interval is within it."""
        return self.rate + self.error <= tolerance


def fit_growth(iterations: list[int], memory: list[float]) -> Growth:
    """Fit the growth after the first quarter, in which caches fill.

    Args:
        iterations: When memory was measured.
        memory: In MiB.
    """
    start = len(iterations) // 4
    if len(set(memory[start:])) == 1:  # no deviation to judge by
        return Growth(0.0, 0.0)
    line = linregress(iterations[start:], memory[start:])
    return Growth(float(1000 * line.slope), float(1000 * 1.96 * line.stderr))


class SoakHook(Hook):
    """Deletes files while the run goes on, and measures memory.

    Args:
        doomed: Files to delete.
        until: Iteration by which all of them are gone.
        bad: The hook that counts.

    Attributes:
        rows: Iteration, MiB of this process, MiB of its loader workers and
            number of unreadable files so far.
    """

    priority = 'LOWEST'

    def __init__(
        self, doomed: list[Path], until: int, bad: BadImageHook
    ) -> None:
        self.doomed = list(doomed)
        self.every = max(1, until // len(doomed))
        self.bad = bad
        self.rows = []

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Delete a file or measure, where it is time to."""
        done = runner.iter + 1
        if self.doomed and done % self.every == 0:
            self.doomed.pop().unlink()
        if done % SAMPLE == 0:
            workers = [p.pid for p in multiprocessing.active_children()]
            self.rows.append(
                (
                    done,
                    resident([os.getpid()]) / MIB,
                    resident(workers) / MIB,
                    len(self.bad.bad),
                )
            )
        if done % PRINT == 0:
            print('| {} | {:.1f} | {:.1f} | {} |'.format(*self.rows[-1]))


# ---------------------------------------------------------------------- run


def soak_config(
    images: Path, work_dir: Path, iterations: int, workers: int
) -> Config:
    """The quickstart's config with a smaller network, on these images."""
    cfg = Config.fromfile(config_path('must/quickstart_digits.py'))
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.merge_from_dict(
        {
            'model.backbone.arch': dict(
                embed_dims=WIDTH, num_layers=2, feedforward_channels=4 * WIDTH
            ),
            'model.neck.in_channels': WIDTH,
            'model.decoder.in_channels': WIDTH,
            'model.start': None,
            'train_dataloader': dict(
                batch_size=BATCH,
                num_workers=workers,
                persistent_workers=workers > 0,
                dataset=dict(
                    _delete_=True,
                    type='SkipBadImages',
                    dataset='CustomDataset',
                    max_bad_images=100,
                    data_prefix=str(images),
                    with_label=False,
                    pipeline=pipeline,
                ),
            ),
            'train_cfg': dict(
                _delete_=True,
                by_epoch=False,
                max_iters=iterations,
                val_interval=iterations,
            ),
            'param_scheduler': dict(
                by_epoch=False, T_max=iterations, convert_to_iter_based=False
            ),
            'optim_wrapper.optimizer.lr': 1e-5,
            'default_hooks.checkpoint.by_epoch': False,
            # often: what saving takes once is taken in the first quarter
            'default_hooks.checkpoint.interval': 50,
            'visualizer.vis_backends': [],
            'log_level': 'WARNING',
            'work_dir': str(work_dir),
            'experiment_name': work_dir.name,
        }
    )
    for key in ('dataloader', 'cfg', 'evaluator'):
        cfg[f'val_{key}'] = cfg[f'test_{key}'] = None
    return cfg


def soak(
    work_dir: Path, iterations: int, workers: int, tolerance: float
) -> dict:
    """Train on faults, and compare what was counted with what was there.

    Args:
        work_dir: A folder of its own.
        iterations: Number of iterations.
        workers: Number of loader workers.
        tolerance: How much memory may grow, in MiB per 1,000 iterations.

    Returns:
        Growth, faults, and whether all is ``well``.
    """
    ordinary, unreadable = write_folder(work_dir / 'images')
    doomed = ordinary[:: ORDINARY // 10]
    cfg = soak_config(work_dir / 'images', work_dir, iterations, workers)
    bad = BadImageHook()
    # half of the run is left to meet the last of them
    watch = SoakHook(doomed, iterations // 2, bad)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(bad)
    runner.register_hook(watch)
    print(f'| {" | ".join(COLUMNS)} |\n|{"---|" * len(COLUMNS)}')
    runner.train()

    growth = fit_growth(
        [row[0] for row in watch.rows], [row[1] + row[2] for row in watch.rows]
    )
    expected = {str(path) for path in (*unreadable, *doomed)}
    missed = sorted(expected - set(bad.bad))
    wrong = sorted(set(bad.bad) - expected)
    return dict(
        iterations=iterations,
        growth=growth.rate,
        growth_error=growth.error,
        tolerance=tolerance,
        faults=len(expected),
        counted=len(bad.bad),
        missed=missed,
        wrongly_counted=wrong,
        well=growth.is_within(tolerance) and not missed and not wrong,
    )


def main(argv: list[str] | None = None) -> None:
    """Command line of ``python -m tests.long.soak``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--iterations', type=positive, default=2000)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument(
        '--tolerance',
        type=float,
        default=4.0,
        help='growth of memory in MiB per 1,000 iterations that passes',
    )
    parser.add_argument('--work-dir', type=Path, default='work_dirs/soak')
    args = parser.parse_args(argv)
    if args.iterations < SAMPLE:
        parser.error(
            f'--iterations must be at least {SAMPLE}: memory is measured '
            f'every {SAMPLE} iterations'
        )
    result = soak(
        args.work_dir.absolute(), args.iterations, args.workers, args.tolerance
    )
    (args.work_dir / 'soak.json').write_text(
        json.dumps(result, indent=2) + '\n'
    )
    print(
        f'memory grows by {result["growth"]:.2f} ± '
        f'{result["growth_error"]:.2f} MiB per 1,000 iterations '
        f'(tolerance {args.tolerance:g}); {result["counted"]} files counted, '
        f'{result["faults"]} unreadable, {len(result["missed"])} missed, '
        f'{len(result["wrongly_counted"])} wrongly counted'
    )
    sys.exit(0 if result['well'] else 1)


if __name__ == '__main__':
    main()
