"""Class names and prompt templates become a linear classifier.

For class ``k``: the mean over templates of normalised text features,
normalised again (MUST Sec. 3.1; CLIP Sec. 3.1.4).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call

from ..datasets import names as known
from ..utils.lists import NoList, read_list, same_name
from ..utils.validation import check_strings

Names = str | Path | Sequence[str]


def _of_data_set(source: Names, read: Callable[[str], list[str]]) -> Names:
    """Replace ``must_mm::NAME`` by what the package has for a data set."""
    if isinstance(source, str) and source.startswith(known.PREFIX):
        return read(source.removeprefix(known.PREFIX))
    return source


def read_lines(source: Names, key: str, commas: bool = True) -> list[str]:
    """Read a list of strings given as such or as a file.

    Args:
        source: The strings, or the path of a file that
            :func:`~must_mm.utils.lists.read_list` can read, such as a text
            with one a line.
        key: Config key, named in errors.
        commas: Whether one line with commas is a list.

    Returns:
        The strings, in the composed form of Unicode.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the list is empty, or the file holds none.
        TypeError: If it is no list of strings.
    """
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f'{key}: there is no file {path}; give a list of strings or '
                'a text file with one a line'
            )
        try:
            source = read_list(path, commas)
        except NoList as error:
            raise ValueError(f'{key}: {path} {error}') from error
    else:
        check_strings(key, source)
    lines = [same_name(line).strip() for line in source if line.strip()]
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
    templates = read_lines(
        _of_data_set(source, known.templates), key, commas=False
    )
    for template in templates:
        if template.count('{}') != 1:
            raise ValueError(
                f'{key}: {template!r} must hold {{}} once, where the class '
                "name goes, as in 'a photo of a {}.'"
            )
    return templates


def prompt_ends(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor | None:
    """Find how many tokens of a prompt its embedding can depend on.

    A causal text tower that reads the prompt off its last token sees nothing
    behind that; any other sees the padding as well.

    Args:
        model: An open_clip model.
        tokens: Prompts, (N, L).

    Returns:
        Numbers of tokens, (N,), or ``None`` where all ``L`` count.
    """
    tower = getattr(model, 'text', model)
    pool = getattr(tower, 'text_pool_type', getattr(tower, 'pool_type', None))
    if (
        not isinstance(getattr(tower, 'attn_mask', None), torch.Tensor)
        or getattr(tower, 'cls_emb', None) is not None
        or pool not in ('argmax', 'eos')
    ):
        return None
    if pool == 'eos':
        end = getattr(tower, 'text_eos_id', getattr(tower, 'eos_id', None))
        tokens = tokens == end
    return tokens.int().argmax(dim=1) + 1


def _encode_cut(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Embed prompts (B, l) in a causal tower cut to ``l`` tokens."""
    tower = getattr(model, 'text', model)
    length = tokens.shape[1]
    cut = dict(
        attn_mask=tower.attn_mask[:length, :length],
        positional_embedding=tower.positional_embedding[:length],
    )
    if tower is not model:
        found = functional_call(tower, cut, (tokens,))
        return found[0] if isinstance(found, tuple) else found
    found = functional_call(model, cut, kwargs=dict(text=tokens))
    return found['text_features'] if isinstance(found, dict) else found[1]


@torch.no_grad()
def embed_prompts(
    model: nn.Module,
    tokenizer,
    classes: Sequence[str],
    templates: Sequence[str],
    done: int = 0,
    sums: torch.Tensor | None = None,
    batch_size: int = 256,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Embed the prompts of all classes, short ones first.

    A causal text tower sees no more tokens than the longest prompt of a batch
    has, which changes nothing but the time.

    Args:
        model: An open_clip model in eval mode.
        tokenizer: Its tokenizer.
        classes: ``K`` class names.
        templates: Prompt templates with one ``{}`` each.
        done: Number of prompts embedded before, in the same order.
        sums: What these gave.
        batch_size: Prompts in a batch.

    Yields:
        After each batch the number of prompts embedded so far, and for every
        class the sum of their normalised features, float64, (K, E).
    """
    device = next(model.parameters()).device
    tokens = tokenizer(
        [template.replace('{}', c) for c in classes for template in templates]
    )
    ends, encode = prompt_ends(model, tokens), partial(_encode_cut, model)
    if ends is None:
        ends = torch.full((len(tokens),), tokens.shape[1])
        encode = model.encode_text
    for batch in ends.argsort(stable=True)[done:].split(batch_size):
        ids = tokens[batch, : ends[batch].max()].to(device)
        feats = F.normalize(encode(ids).float(), dim=-1).cpu().double()
        if sums is None:
            sums = feats.new_zeros(len(classes), feats.shape[1])
        sums.index_add_(0, batch // len(templates), feats)
        done += len(batch)
        yield done, sums


def as_classifier(sums: torch.Tensor) -> torch.Tensor:
    """Normalise the mean features of the classes, (K, E).

    Returns:
        ``W``, float32, shape (E, K), columns of unit length.
    """
    return F.normalize(sums, dim=1).T.float().contiguous()


def text_classifier(
    model: nn.Module,
    tokenizer,
    classes: Sequence[str],
    templates: Sequence[str],
) -> torch.Tensor:
    """Embed every class; see :func:`embed_prompts`.

    Returns:
        ``W``, float32, shape (E, K), columns of unit length.
    """
    *_, (_, sums) = embed_prompts(model, tokenizer, classes, templates)
    return as_classifier(sums)
