"""What will be run: images, config, cost; nothing is written or fetched."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from must_mm_cli.options import Options

from ..weights.clip_source import find_model, find_weights
from ..weights.open_clip_start import OpenCLIPStart
from ..weights.origin import function_of
from .clip_config import clip_config, find_tower
from .config_parts import Data
from .cost import Cost, measure, precision, this_machine
from .images import (
    SUFFIXES,
    dark_images,
    not_looked_at,
    other_suffixes,
    search,
    split_readable,
)
from .names import AUTO
from .own_config import own_config
from .progress import Progress, duration
from .settings import BATCH, Machine, choose, shorter, workers
from .task import Task
from .written_config import load_config

RUNS, PATIENCE = 3, 3600  # runs, if all of them take fewer seconds
SLOW = 3 * 3600  # seconds from which a run without a GPU is called slow
START, SMALLER = (Options.model, Options.pretrained), 'ViT-B-32'
TRAINED = 'trained.txt'  # lists the images that train, if not all do
OPEN = 'estimated once the start has seen the images'


@dataclass(frozen=True)
class Images:
    """The images of a task.

    Attributes:
        names: Paths of those that can be read, below the folder.
        labelled: Those of ``--eval``, with the index of their class.
        skipped: The others, with the reason; folders that could not be
            looked into, too.
        notes: What the user should know of them.
        unlike: How many MMPretrain's own loader sees differently.
    """

    names: list[str]
    labelled: list[tuple[str, int]]
    skipped: dict[str, str]
    notes: tuple[str, ...] = ()
    unlike: int = 0


def look_at_folder(
    folder: Path, leave_out: Path, cores: int, needed: int = 2
) -> Images:
    """Decode all images of IMAGES once.

    Args:
        folder: The folder.
        leave_out: A folder that is not looked into.
        cores: How many images to decode at a time.
        needed: How many have to be of use.

    Raises:
        ValueError: If fewer can be used.
    """
    searched = search(folder, leave_out)
    found = searched.names
    closed = {
        f'{name}/': f'this folder cannot be looked into: {why}'
        for name, why in searched.closed.items()
    }
    if not found:
        others = other_suffixes(searched.others)
        raise ValueError(
            f'IMAGES: there are no images below {folder}, no file ends '
            f'in {", ".join(sorted(SUFFIXES))}'
            + (f'; there are files of {others}' if others else '')
            + ''.join(f'; {name} {why}' for name, why in closed.items())
        )
    with Progress('looking at images', len(found)) as progress:
        looked = split_readable(folder, found, cores, progress)
    names, skipped = looked.names, looked.skipped | closed
    if len(names) < needed:
        reasons = [f'{name}: {why}' for name, why in skipped.items()]
        shown = '\n  '.join(reasons[:10] + ['...'] * (len(reasons) > 10))
        raise ValueError(
            f'IMAGES: {len(names)} of {len(found)} images below '
            f'{folder} can be read, {needed} needed'
            + (f'; skipped:\n  {shown}' if shown else '')
        )
    notes = [not_looked_at(searched.others), dark_images(looked.largest)]
    if looked.unlike:
        notes.append(
            f"{len(looked.unlike)} images look different to MMPretrain's own "
            f'loader (transparency, 16 bits or a format; such as '
            f'{looked.unlike[0]}): the exported config loads them by must_mm'
        )
    kept = tuple(note for note in notes if note)
    return Images(names, [], skipped, kept, len(looked.unlike))


def look_at_images(task: Task, leave_out: Path, cores: int) -> Images:
    """Decode all images of a task once, those of ``--eval`` too.

    Args:
        task: What is asked for.
        leave_out: A folder that is not looked into.
        cores: How many images to decode at a time.

    Raises:
        ValueError: If fewer than two can be used, or none of ``--eval``.
    """
    images = look_at_folder(task.folder, leave_out, cores)
    if not task.labelled:
        return images
    folder = task.eval_folder
    label = dict(task.labelled)
    with Progress('looking at --eval', len(label)) as progress:
        checked = split_readable(folder, list(label), cores, progress)
    good, bad = checked.names, checked.skipped
    if not good:
        name, why = next(iter(bad.items()))
        raise ValueError(
            f'--eval {folder}: none of the {len(bad)} images can be read; '
            f'{name}: {why}'
        )
    unread = {str(folder / name): why for name, why in bad.items()}
    return replace(
        images,
        labelled=[(name, label[name]) for name in good],
        skipped=images.skipped | unread,
    )


@dataclass(frozen=True)
class Plan:
    """What will be run.

    Attributes:
        cfg: The config, a dict or an MMEngine ``Config``.
        cost: What one step costs here.
        machine: The machine.
        whole: Where blocks are recomputed so that more images fit: the batch
            that fits without, 0 if none does, and its seconds per image.
        trained: How many images train.
        corrects: Whether labels correct a result, which no runs do.
    """

    cfg: dict
    cost: Cost
    machine: Machine
    whole: tuple[int, float | None] | None = None
    trained: int = 0
    corrects: bool = False

    def runs(self, task: Task) -> int:
        """How many runs there will be: three if they take under an hour."""
        if task.options.runs is not None:
            return task.options.runs
        return RUNS if self.seconds(RUNS) < PATIENCE else 1

    def seconds(self, runs: int) -> float:
        """Expected wall time of all runs, as many at a time as GPUs.

        What several teach together is one run more.
        """
        one = self.cost.seconds(
            self.trained,
            self.cfg['train_cfg']['max_epochs'],
            self.cfg['train_dataloader']['num_workers'],
        )
        if self.corrects:
            return one
        at_a_time = ceil(runs / max(1, self.machine.devices))
        return (at_a_time + (runs > 1)) * one

    def _runs(self, task: Task) -> str:
        """How many runs, why, and in which order."""
        if self.corrects:
            return 'none: your labels and those of before are taught'
        chosen, runs = task.options.runs is None, self.runs(task)
        if runs == 1:
            more = duration(self.seconds(RUNS))
            return f'1 run ({RUNS} runs would take {more})' if chosen else '1'
        at_once = min(runs, self.machine.devices)
        return (
            f'{runs}, from seed {task.options.seed} on, '
            + (
                f'{at_once} at a time, one a GPU'
                if at_once > 1
                else 'one after another'
            )
            + ', then one that they teach'
            + ', as all take less than an hour' * chosen
        )

    def _prior(self, task: Task) -> str:
        """Where the class prior comes from."""
        fairness = self.cfg['model']['head'].get('fairness') or {}
        if task.prior:
            return 'as given'
        if fairness.get('prior'):
            return 'as in config.py'
        follows = fairness.get('loss_weight', 1) > 0
        asked = task.options.class_prior == AUTO
        return OPEN if follows and asked else 'uniform'

    @staticmethod
    def _labels_and_rejects(task: Task) -> dict[str, str]:
        options, rows = task.options, {}
        if options.labels:
            rows['labels by hand'] = options.labels
        if options.after:
            rows['goes on from'] = options.after
        if options.reject:
            rows['rejected'] = f'{100 * options.reject:g} % of the images'
        return rows

    def describe(self, task: Task, images: Images) -> dict[str, str]:
        """Put it in words, by name."""
        options, cfg = task.options, self.cfg
        count, epochs = len(images.names), cfg['train_cfg']['max_epochs']
        loader = cfg['train_dataloader']
        batch, processes = loader['batch_size'], loader['num_workers']
        seconds = self.seconds(self.runs(task))
        memory = self.cost.memory(batch) / 2**30
        optimizer = cfg['optim_wrapper']['optimizer']
        fairness = cfg['model']['head'].get('fairness') or {}
        return {
            'images': f'{count} in {task.folder}, '
            f'{len(images.skipped)} skipped',
            'classes': f'{len(task.classes)}: {shown(task.classes)}',
            'templates': 'those of the start'
            if task.config
            else shown(task.templates, 3),
            'start': str(task.config)
            if task.config
            else ', '.join(task.start.values()),
            **({'weights': _weights(task)} if not task.config else {}),
            'labelled images': f'{len(images.labelled)} in {options.eval}'
            if images.labelled
            else 'none',
            **self._labels_and_rejects(task),
            'training': f'{epochs} epochs of {self.trained // batch} steps '
            f'of {batch} images',
            'runs': self._runs(task),
            'learning rate': f'{optimizer["lr"]:.3g}',
            'fairness weight': f'{fairness.get("loss_weight", 1.0):g}'
            if fairness
            else '0',
            'class prior': self._prior(task),
            'exported network': options.network,
            'seed': str(options.seed),
            'device': f'{self.machine.device}, {self.machine.cores} cores, '
            f'{processes} loader processes',
            'precision': _precision_words(cfg),
            'expected time': f'{duration(seconds)}, measured on a few steps '
            'with random weights' + self._slow(task, seconds),
            'expected memory': f'{memory:.1f} GiB beside the libraries'
            + self._price(),
        }

    def _slow(self, task: Task, seconds: float) -> str:
        """What makes a long run without a GPU shorter."""
        if self.machine.device != 'cpu' or seconds < SLOW:
            return ''
        options, ways = task.options, ['fewer --epochs']
        if self.runs(task) > 1 and not self.corrects:
            ways.insert(0, '--runs 1')
        if (options.model, options.pretrained) == START:
            ways.insert(0, f'--model {SMALLER}')
        return f'; slow without a GPU: try {" or ".join(ways)}'

    def _price(self) -> str:
        """What recomputing gives and takes, if blocks are recomputed."""
        if not self.whole:
            return ''
        batch, step = self.whole
        if not batch:
            return '; blocks are recomputed, or no two images would fit'
        return (
            f'; blocks are recomputed, or {batch} images would fit: a step '
            f'takes {self.cost.step / step:.2f} times as long per image'
        )


def _precision_words(cfg: dict) -> str:
    dtype = precision(cfg['optim_wrapper'])
    return f'mixed, {str(dtype)[6:]}' if dtype else 'float32'


def _batch_bytes(config: Path) -> int:
    """About how large a batch of a MUST config's views is."""
    loader = load_config(config, '--model ').get('train_dataloader') or {}
    size = max(_sides(loader), default=224)
    return loader.get('batch_size', 1) * 2 * 3 * size**2


def _sides(value: object) -> Iterator[int]:
    """Sides of images that a pipeline names."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in ('size', 'scale', 'crop_size', 'input_size'):
                yield from (
                    inner
                    if isinstance(inner, (list, tuple))
                    else ([inner] if isinstance(inner, int) else [])
                )
            else:
                yield from _sides(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _sides(inner)


def _weights(task: Task) -> str:
    """Which function the weights are taken for, and how it is known."""
    model = find_model(task.start['model'])
    function = function_of(
        model, find_weights(model, task.start.get('pretrained'))
    )
    missing = '; they will be downloaded' * start_of(task).lacks_weights
    return f'{function}; {function.known}{missing}'


def start_of(task: Task) -> OpenCLIPStart:
    """The zero-shot classifier that a task without a config begins with."""
    return OpenCLIPStart(
        classes=task.classes, templates=task.templates, **task.start
    )


def shown(values: list[str], most: int = 10) -> str:
    """The first of a list of names."""
    rest = len(values) - most
    return ', '.join(values[:most]) + (f' and {rest} more' * (rest > 0))


def skipped_lines(skipped: Mapping[str, str], most: int = 5) -> list[str]:
    """Why the first of the skipped files were."""
    rest = len(skipped) - most
    lines = [f'skipped {name}: {why}' for name, why in skipped.items()]
    return lines[:most] + [f'and {rest} more, see report.html'] * (rest > 0)


def make_plan(
    task: Task,
    images: Images,
    out: Path,
    trained: int | None = None,
    known: Path | None = None,
    after: Path | None = None,
    corrects: bool = False,
) -> Plan:
    """Choose settings and measure what they cost.

    Args:
        task: What is asked for.
        images: The images.
        out: Folder for all that is written.
        trained: How many images train, where they have a list of their own;
            all by default.
        known: Text file of the labels that training may use.
        after: Checkpoint to go on from, for a shorter time than from the
            start.
        corrects: Whether labels correct what is gone on from.

    Raises:
        ValueError: If the network cannot be trained here.
    """
    labelled = None
    if images.labelled:
        labelled = task.eval_folder, out / 'labelled.txt'
    count = len(images.names) if trained is None else trained
    data = Data(
        task.folder,
        out / 'images.txt',
        count,
        task.classes,
        labelled,
        trained=None if trained is None else out / TRAINED,
        known=known,
        after=after,
    )
    machine, options = this_machine(), task.options
    at_once = 1 if corrects else min(machine.devices, options.runs or RUNS)
    if at_once > 1:  # that share the cores
        machine = replace(machine, cores=max(1, machine.cores // at_once))

    def plan(
        cfg: dict,
        cost: Cost,
        whole: tuple[int, float | None] | None = None,
    ) -> Plan:
        return Plan(cfg, cost, machine, whole, count, corrects)

    paths = [str(task.folder / name) for name in images.names[:4]]
    common = dict(
        fairness=task.fairness, network=options.network, seed=options.seed
    )
    if task.config:
        cfg = own_config(
            task.config,
            data,
            workers(machine, _batch_bytes(task.config)),
            epochs=options.epochs,
            **common,
        )
        return plan(cfg, _cost(cfg, paths, machine))
    tower = find_tower(find_model(task.start['model']))
    start = dict(task.start, templates=task.templates)

    def config(cost: Cost | None, recompute: bool = False) -> dict:
        settings = choose(
            count,
            tower,
            machine,
            cost.fixed if cost else 0,
            cost.per_image if cost else 0,
            options.epochs,
            cost and cost.too_many,
            recompute,
        )
        if after and options.epochs is None:
            settings = shorter(settings, count)
        return clip_config(data, start, tower, settings, **common)

    draft = config(None)
    # a tower that is no plain transformer has no list of blocks
    can_recompute = 'arch' in draft['model']['backbone']
    try:
        cost = _cost(draft, paths, machine)
        cfg = config(cost)
        wanted = min(BATCH, count)
        if cfg['train_dataloader']['batch_size'] >= wanted:
            return plan(cfg, cost)
        whole = cfg['train_dataloader']['batch_size'], cost.step
    except ValueError:
        if not can_recompute:
            raise
        whole = 0, None
    if can_recompute:
        spared = _cost(config(None, recompute=True), paths, machine)
        recomputed = config(spared, recompute=True)
        batch = recomputed['train_dataloader']['batch_size']
        if batch > whole[0]:
            return plan(recomputed, spared, whole)
    return plan(cfg, cost)


def _cost(cfg: dict, paths: list[str], machine: Machine) -> Cost:
    hooks = [hook['type'] for hook in cfg['custom_hooks']]
    return measure(
        cfg['model'],
        cfg['train_pipeline'],
        cfg['test_pipeline'],
        paths,
        machine.memory,
        precision(cfg['optim_wrapper']),
        'RecomputeBlocksHook' in hooks,
    )
