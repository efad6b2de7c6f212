"""Names that a text tower does not read to their end."""

from collections.abc import Sequence

import open_clip

from .clip_source import needs_transformers


def cut_names(
    model: str, classes: Sequence[str], templates: Sequence[str]
) -> str | None:
    """Say which class names are longer than a text tower's context.

    Args:
        model: As :func:`find_model` returns it.
        classes: Class names.
        templates: Prompt templates; the longest counts.

    Returns:
        One or two sentences; ``None`` if nothing is cut, or where the
        tokenizer would have to be fetched.
    """
    if needs_transformers(model):
        return None
    tokenizer = open_clip.get_tokenizer(model)
    longest = max(templates, key=lambda text: len(tokenizer.encode(text)))
    room = tokenizer.context_length - 2  # beside start and end
    read: dict[tuple[int, ...], str] = {}
    cut, alike = [], []
    for name in classes:
        tokens = tokenizer.encode(longest.replace('{}', name))
        if len(tokens) > room:
            cut.append(name)
        other = read.setdefault(tuple(tokens[:room]), name)
        if other is not name:
            alike.append(f'{_short(other)} and {_short(name)}')
    if not cut:
        return None
    more = f' and {len(cut) - 3} more' if len(cut) > 3 else ''
    text = (
        f'{len(cut)} class names are longer than the '
        f'{tokenizer.context_length} tokens that {model} reads, and are cut: '
        + ', '.join(map(_short, cut[:3]))
        + more
    )
    if alike:
        text += f'. What is left of {"; ".join(alike[:3])} is the same'
    return text


def _short(name: str, most: int = 60) -> str:
    """A name, its middle left out if it is long."""
    if len(name) <= most:
        return repr(name)
    half = most // 2
    return repr(f'{name[:half]} ... {name[-half:]}')
