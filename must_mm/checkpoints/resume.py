"""Which checkpoint a run goes on from: the newest one that is whole."""

import math
import time
from collections.abc import Callable
from numbers import Number
from pathlib import Path
from typing import TypeVar

import torch
from mmengine.runner import Runner

from .plain import keep, load_tensors, plain_data_only

T = TypeVar('T')
POINTER = 'last_checkpoint'
WAITS = (1, 4, 10)  # seconds, until a file is read again
_PARTS = ('meta', 'state_dict', 'message_hub', 'optimizer')


def check_resumable(path: str | Path) -> dict:
    """Read a checkpoint, refuse what a run cannot be resumed from.

    Args:
        path: A checkpoint on a local disk.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds no whole state of a run.
        OSError: If it still cannot be read after a while.
    """
    content = patiently(load_tensors, path)
    check_parts(content, path)
    return content


def patiently(read: Callable[[str | Path], T], path: str | Path) -> T:
    """Read a file again if that fails for now, on a network's disk for one.

    Raises:
        OSError: If it fails for good.
    """
    for seconds in WAITS:
        try:
            return read(path)
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(seconds)
    return read(path)


def read_iteration(path: str | Path) -> float:
    """Return the iteration that a checkpoint was written after.

    Tensors are not read. Infinity, where the file does not tell: it is to be
    looked at closely.
    """
    try:
        with plain_data_only(path):
            content = torch.load(path, map_location='meta', weights_only=True)
        return float(content['meta']['iter'])
    except (KeyError, TypeError, ValueError):
        return math.inf


def check_parts(content: dict, path: str | Path) -> None:
    """Raise unless a checkpoint holds all parts of a run's state.

    Args:
        content: The checkpoint.
        path: Its file, for the error.

    Raises:
        ValueError: If a part is missing.
    """
    wrong = [
        name for name in _PARTS if not isinstance(content.get(name), dict)
    ]
    wrong += [
        f'meta.{name}'
        for name in ('epoch', 'iter')
        if 'meta' not in wrong
        and not isinstance(content['meta'].get(name), int)
    ]
    if 'meta' not in wrong and not isinstance(
        content['meta'].get('seed'), (int, type(None))
    ):
        wrong.append('meta.seed')
    if wrong:
        raise ValueError(
            f'{path} cannot be resumed from, it lacks {", ".join(wrong)} of a '
            'run. To start from its weights, set load_from instead of --resume'
        )


def check_state(runner: Runner, checkpoint: dict) -> None:
    """Raise if a state is that of another run, and would fail later.

    Args:
        runner: The runner that resumes, its optimizer built.
        checkpoint: The checkpoint that it resumes from.

    Raises:
        ValueError: If a part is missing, or optimizer, schedules or log are
            of another form.
    """
    path = runner._load_from or 'the latest checkpoint'
    check_parts(checkpoint, path)
    optimizer = runner.optim_wrapper.optimizer
    saved, own = checkpoint['optimizer'], optimizer.state_dict()
    parameters = [
        p for group in optimizer.param_groups for p in group['params']
    ]
    wrong = []
    if not _groups_fit(saved.get('param_groups'), own['param_groups']):
        wrong.append('optimizer.param_groups')
    if not _moments_fit(saved.get('state'), parameters):
        wrong.append('optimizer.state')
    log = checkpoint['message_hub']
    if not all(
        isinstance(log.get(name), dict)
        for name in ('log_scalars', 'runtime_info', 'resumed_keys')
    ) or not all(type(kept) is bool for kept in log['resumed_keys'].values()):
        wrong.append('message_hub')
    schedules = [
        schedule.state_dict() for schedule in runner.param_schedulers or []
    ]
    if _form(checkpoint.get('param_schedulers', [])) != _form(schedules):
        wrong.append('param_schedulers')
    if wrong:
        raise ValueError(
            f'{path} cannot be resumed from: {", ".join(wrong)} '
            'is of another run than this config describes. Resume with the '
            "config of that run, or set load_from to start from the file's "
            'weights'
        )


def warn_of_rates(runner: Runner, checkpoint: dict) -> None:
    """Say so if the run goes on with other rates than its config states.

    MMEngine resumes rates and schedule with the optimizer; a config states
    others for another total batch, on another number of GPUs for one.
    """
    saved, own = (
        [group.get('initial_lr', group['lr']) for group in groups]
        for groups in (
            checkpoint['optimizer']['param_groups'],
            runner.optim_wrapper.optimizer.param_groups,
        )
    )
    ratio = max(
        (one / other for one, other in zip(saved, own, strict=True) if other),
        key=lambda ratio: abs(ratio - 1),
        default=1.0,
    )
    if abs(ratio - 1) > 1e-6:
        runner.logger.warning(
            f'the run goes on with the learning rates of its checkpoint, '
            f'{ratio:.4g} times those that the config states now, as for '
            'another total batch: keep that with train_dataloader.batch_size '
            'and optim_wrapper.accumulative_counts, or set load_from instead '
            'of --resume to train on at the new rates'
        )


def _groups_fit(saved: object, own: list[dict]) -> bool:
    """Whether an optimizer's saved groups have the form of its own.

    Other versions of PyTorch know more options of an optimizer, or fewer: it
    gives those that a file lacks their defaults.
    """
    if not isinstance(saved, list) or len(saved) != len(own):
        return False
    return all(
        isinstance(group, dict)
        and {'lr', 'params'} <= group.keys()
        and all(
            _form(group[key]) == _form(mine[key])
            for key in group.keys() & mine.keys()
        )
        for group, mine in zip(saved, own, strict=True)
    )


def _moments_fit(state: object, parameters: list[torch.Tensor]) -> bool:
    """Whether an optimizer's saved state could be that of the parameters.

    What it keeps, such as AdamW's step and two moments, it keeps of every
    parameter alike.
    """
    try:
        kept = [
            {
                name: _kind(value, parameters[index])
                for name, value in moments.items()
            }
            for index, moments in state.items()
        ]
    except (AttributeError, IndexError, TypeError):
        return False
    return all(
        kinds == kept[0] and 'other' not in kinds.values() for kinds in kept
    )


def _kind(value: object, parameter: torch.Tensor) -> str:
    if value is None or isinstance(value, Number):
        return 'number'
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return 'other'
    if value.shape == parameter.shape:
        return 'moment'
    return 'other' if value.ndim else 'number'


def saved_values(
    runner: Runner, checkpoint: dict, key: str, kind: type
) -> dict[str, object]:
    """Return what a hook has saved, names and values of one kind.

    Args:
        runner: The runner that resumes.
        checkpoint: The checkpoint that it resumes from.
        key: Where the hook keeps it; nothing may be there.
        kind: What every value must be.

    Raises:
        ValueError: If it is anything else.
    """
    saved = checkpoint.get(key, {})
    if not isinstance(saved, dict) or not all(
        isinstance(name, str) and type(value) is kind
        for name, value in saved.items()
    ):
        path = runner._load_from or 'the latest checkpoint'
        raise ValueError(
            f'{path} cannot be resumed from: its {key} is damaged. To start '
            'from its weights, set load_from instead of --resume'
        )
    return saved


def _form(state):
    """Keys, lengths and kinds of plain data, without its values."""
    if isinstance(state, dict):
        return {key: _form(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [_form(value) for value in state]
    return Number if isinstance(state, Number) else type(state)


def is_remote(path: str) -> bool:
    """Whether MMEngine fetches the file, as from ``s3://``."""
    return '://' in path


def _age(file: Path) -> tuple[float, int]:
    return read_iteration(file), file.stat().st_mtime_ns


def find_resumable(
    work_dir: str | Path, to_load: bool = False
) -> tuple[str | None, list[str]]:
    """Find the newest checkpoint of a run that is whole.

    ``last_checkpoint`` alone does not tell: a run may be killed before it is
    updated, and the file that it names may be damaged or gone. Neither do the
    times of the files, which a copy changes: the iteration counts.

    Args:
        work_dir: Folder of the run.
        to_load: Whether this process loads it next: see :func:`keep`.

    Returns:
        The checkpoint, ``None`` where the run has not written any; and for
        each newer file why it was skipped.

    Raises:
        ValueError: If there are checkpoints but none is whole.
        OSError: If one cannot be read now.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / POINTER
    named = pointer.read_text().strip() if pointer.is_file() else ''
    if is_remote(named):
        return named, []
    # a copied folder still names the original; with out_dir it has no files
    files = list(work_dir.glob('*.pth'))
    if named and not files:
        files = list(Path(named).parent.glob('*.pth'))
    skipped = []
    if named and not Path(named).is_file():
        skipped.append(f'{named}, which {pointer} names, is gone')
    for file in sorted(
        files, key=lambda file: patiently(_age, file), reverse=True
    ):
        try:
            content = check_resumable(file)
        except (FileNotFoundError, ValueError) as error:
            skipped.append(str(error))
            continue
        if to_load:
            keep(file, content)
        return str(file), skipped
    if skipped:
        raise ValueError(
            f'--resume: no checkpoint in {work_dir} can be resumed from: '
            + '; '.join(skipped)
        )
    return None, []
