"""What start and result make of all images, and of the labelled ones."""

from dataclasses import replace
from typing import TextIO

import torch
import torch.nn as nn

from .plan import Images
from .predict import Seen, look
from .preparation import Job
from .task import Task

#: Of the images, and of the labelled ones if there are any.
Passes = tuple[Seen, Seen | None]


def classify(model: nn.Module, job: Job, who: str, screen: TextIO) -> Passes:
    """Show a classifier the images of a run.

    Args:
        model: A classifier of MMPretrain.
        job: The run.
        who: What the progress calls it.
        screen: Where to show the progress.
    """
    task, out = job.task, job.out
    seen = look(
        model,
        job.cfg,
        task.folder,
        out / 'images.txt',
        f'{who}: image',
        screen,
    )
    if not job.images.labelled:
        return seen, None
    return seen, look(
        model,
        job.cfg,
        task.eval_folder,
        out / 'labelled.txt',
        f'{who}: labelled image',
        screen,
        labelled=True,
        mixed=0,
    )


def without_gone(
    task: Task, images: Images, before: Passes, after: list[Passes]
) -> tuple[Images, Passes, list[Passes]]:
    """Leave out images that went while the run went on.

    Args:
        task: What was asked for.
        images: The images of its beginning.
        before: What the start made of the images, and of the labelled ones
            if there are any.
        after: What each of the adapted classifiers made of them.

    Returns:
        The three without them; they are among those that were skipped.
    """
    skipped, kept, seen = dict(images.skipped), [], []
    folders = [(task.folder, images.names)]
    if images.labelled:
        folders.append((task.eval_folder, images.labelled))
    for part, (folder, entries) in enumerate(folders):
        passes = [one[part] for one in (before, *after)]
        there = torch.stack([one.there for one in passes]).all(dim=0)
        kept.append([])
        for entry, here in zip(entries, there.tolist(), strict=True):
            if here:
                kept[part].append(entry)
            else:
                name = entry if part == 0 else str(folder / entry[0])
                skipped[name] = 'it went, or changed, while the run went on'
        seen.append([one.only(there) for one in passes])
    images = replace(
        images,
        names=kept[0],
        labelled=kept[1] if images.labelled else [],
        skipped=skipped,
    )
    if not images.labelled:
        seen.append([None] * len(seen[0]))
    first, *others = zip(*seen, strict=True)
    return images, first, others
