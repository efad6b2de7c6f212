"""All that comes before the first pass: images, plan, config, lists."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config
from mmpretrain.registry import TASK_UTILS

from ..weights.clip_weights import fetch
from .config_parts import follow_folders, stated_prior
from .corrections import (
    LABELS,
    goes_on_from,
    keep_labels,
    known_labels,
    said_before,
    training_count,
    unmeasured,
    without_their_labels,
)
from .cost import this_machine
from .labels import Known
from .lists import write_lists, write_text
from .plan import (
    OPEN,
    Images,
    Plan,
    look_at_images,
    make_plan,
    skipped_lines,
    start_of,
)
from .said import Said
from .task import Task, save
from .written_config import config_text, load_config


@dataclass(frozen=True)
class Job:
    """A run, ready to begin or to go on.

    Attributes:
        task: What is asked for; the number of runs is settled.
        out: Folder for all that is written.
        images: The images.
        known: What is known of them.
        cfg: The config.
        resumed: Whether the config is that of a run that goes on.
        words: The plan in words, by name.
        before: What runs have said of the images, where labels correct their
            result; see :func:`said_before`.
    """

    task: Task
    out: Path
    images: Images
    known: Known
    cfg: Config
    resumed: bool
    words: dict[str, str]
    before: Said | None = None

    @property
    def config(self) -> Path:
        """File of the config."""
        return self.out / 'config.py'

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return self.task.options.runs

    @property
    def prior(self) -> list[float] | None:
        """Shares that are trained towards; ``None`` if they are even."""
        return stated_prior(self.cfg)


@dataclass(frozen=True)
class Gathered:
    """What a task begins with; nothing of it is written or fetched yet.

    Attributes:
        images: The images.
        known: What is known of them.
        after: Checkpoint to go on from, if that is not the start.
        before: See :func:`said_before`.
        plan: What will be run.
    """

    images: Images
    known: Known
    after: Path | None
    before: Said | None
    plan: Plan


def gather(task: Task, out: Path) -> Gathered:
    """Look at the images and at what is known of them, and plan the run.

    Raises:
        ValueError: If images, labels or the result to go on from are of no
            use.
    """
    after = goes_on_from(task)
    images = look_at_images(task, out, this_machine().cores)
    known = known_labels(task, images, out)
    images = unmeasured(images, task, known)
    note = without_their_labels(known)
    if note:
        images = replace(images, notes=(*images.notes, note))
    before = said_before(task, images, known)
    plan = make_plan(
        task,
        images,
        out,
        training_count(task, images, known),
        out / LABELS if known.labels else None,
        after,
        before is not None,
    )
    return Gathered(images, known, after, before, plan)


def prepare(task: Task, out: Path) -> Job:
    """Gather what a run needs, and take its config if it goes on.

    Raises:
        ValueError: See :func:`gather`.
    """
    found = gather(task, out)
    images, plan, path = found.images, found.plan, out / 'config.py'
    # with options and no config, the run was stopped before it trained
    resumed = path.is_file()
    cfg = load_config(path) if resumed else Config(plan.cfg)
    if resumed and follow_folders(cfg, out, task.folder, found.after):
        write_config(cfg, path)
    words = replace(plan, cfg=cfg).describe(task, images)
    if resumed and words['class prior'] == OPEN:  # it has been, and is even
        words['class prior'] = 'uniform'
    options = replace(task.options, runs=plan.runs(task))
    task = replace(task, options=options)
    return Job(
        task, out, images, found.known, cfg, resumed, words, found.before
    )


def fetch_weights(task: Task) -> None:
    """Fetch weights that are not here, before work that would be lost.

    Raises:
        RuntimeError: If they cannot be fetched, with where they are.
    """
    if task.config:
        return
    start = start_of(task)
    if start.lacks_weights:
        print('downloading the weights', flush=True)
        fetch(start.model, start.pretrained)


def begin(job: Job) -> Job:
    """Say what will be done, build the start, write options and lists.

    Returns:
        The job, with the labels that were kept in place of those given.
    """
    show(job.words)
    for note in (*job.task.notes, *job.images.notes):
        print(f'note: {note}', flush=True)
    for line in skipped_lines(job.images.skipped):
        print(line, flush=True)
    start = TASK_UTILS.build(job.cfg.model.start)
    if hasattr(start, 'prepare'):
        # before anything is written, so that the command can be repeated if
        # it fails
        print('building the zero-shot classifier', flush=True)
        start.prepare()
    write_lists(job.task, job.images, job.out)
    task = keep_labels(job.task, job.known, job.out)
    save(task, job.out)
    return replace(job, task=task)


def show(words: dict[str, str]) -> None:
    """Print a table of names and words."""
    for name, value in words.items():
        print(f'  {name:17} {value}', flush=True)


def write_config(cfg: Config, path: Path) -> None:
    """Write the config of a run, to be edited and run again."""
    header = (
        'MUST on a folder of images, generated by must-adapt.\n\n'
        'To go on with the run:  must-adapt --resume DIR\n'
        'To run it once more, edited or not:\n'
        f'  python tools/train.py {shlex.quote(str(path))} '
        '--work-dir ANOTHER'
    )
    write_text(path, config_text(cfg.to_dict(), header))
