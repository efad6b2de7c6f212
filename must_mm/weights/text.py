"""Class names and prompt templates become a linear classifier.

For class ``k``: the mean over templates of normalised text features,
normalised again (MUST Sec. 3.1; CLIP Sec. 3.1.4).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..datasets import names as known
from ..utils.validation import check_strings

Names = str | Path | Sequence[str]


def _of_data_set(source: Names, read: Callable[[str], list[str]]) -> Names:
    """Replace ``must_mm::NAME`` by what the package has for a data set."""
    if isinstance(source, str) and source.startswith(known.PREFIX):
        return read(source.removeprefix(known.PREFIX))
    return source


def read_lines(source: Names, key: str) -> list[str]:
    """Read a list of strings given as such or as a text file.

    Args:
        source: The strings, or the path of a text file with one a line.
        key: Config key, named in errors.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the list is empty.
        TypeError: If it is no list of strings.
    """
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f'{key}: there is no file {path}; give a list of strings or '
                'a text file with one a line'
            )
        source = path.read_text(encoding='utf-8').splitlines()
    else:
        check_strings(key, source)
    lines = [line.strip() for line in source if line.strip()]
    if not lines:
        raise ValueError(f'{key} is empty')
    return lines


def read_classes(
    source: Names, key: str = 'classes', allow_duplicates: bool = False
) -> list[str]:
    """Read class names; see :func:`read_lines`.

    Args:
        source: The names, a text file with one a line, or
            ``must_mm::NAME`` for those of a data set.
        key: Config key, named in errors.
        allow_duplicates: Whether names may repeat, as two do in ImageNet's
            own list.

    Raises:
        ValueError: If a name repeats although it may not.
    """
    names = read_lines(_of_data_set(source, known.class_names), key)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated and not allow_duplicates:
        raise ValueError(
            f'{key} repeats {repeated}: such classes cannot be told apart. '
            'Rename them, or set allow_duplicates=True'
        )
    return names


def read_templates(source: Names, key: str = 'templates') -> list[str]:
    """Read prompt templates, as :func:`read_classes` reads names.

    Raises:
        ValueError: If a template does not hold ``{}`` exactly once.
    """
    templates = read_lines(_of_data_set(source, known.templates), key)
    for template in templates:
        if template.count('{}') != 1:
            raise ValueError(
                f'{key}: {template!r} must hold {{}} once, where the class '
                "name goes, as in 'a photo of a {}.'"
            )
    return templates


@torch.no_grad()
def text_classifier(
    model: nn.Module,
    tokenizer,
    classes: Sequence[str],
    templates: Sequence[str],
) -> torch.Tensor:
    """Embed every class.

    Args:
        model: An open_clip model in eval mode.
        tokenizer: Its tokenizer.
        classes: ``K`` class names.
        templates: Prompt templates with one ``{}`` each.

    Returns:
        ``W``, float32, shape (E, K), columns of unit length.
    """
    columns = []
    for name in classes:
        prompts = [template.replace('{}', name) for template in templates]
        features = model.encode_text(tokenizer(prompts)).float()
        mean = F.normalize(features, dim=-1).mean(dim=0)
        columns.append(F.normalize(mean, dim=0))
    return torch.stack(columns, dim=1)
