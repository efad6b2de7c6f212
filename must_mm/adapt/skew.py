"""Classes that are predicted much too rarely or often."""

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

RARE, FREQUENT = 0.1, 3.0  # times the fair share of a class
NEARLY_ALL = 0.9
SHOWN = 3  # classes that are named


class Skew(NamedTuple):
    """Indices of classes, the furthest from their shares first."""

    frequent: list[int]
    rare: list[int]


def skew(
    labels: Sequence[int],
    classes: Sequence[str],
    prior: Sequence[float] | None,
) -> Skew:
    """Find classes that are predicted much too rarely or often.

    That is less than a tenth or more than three times the share that the
    prior gives them (uniform: 1 / K), where this share is at least five
    images.
    """
    total, counts = len(labels), Counter(labels)
    frequent, rare = [], []
    for k, share in enumerate(prior or [1 / len(classes)] * len(classes)):
        fair = share * total
        if fair < 5:
            continue
        # of two classes, none can have three times its share
        most = min(FREQUENT * fair, total - RARE * (total - fair))
        if counts[k] > most:
            frequent.append(k)
        elif counts[k] < RARE * fair:
            rare.append(k)
    frequent.sort(key=lambda k: -counts[k])
    rare.sort(key=lambda k: counts[k])
    return Skew(frequent, rare)


def skew_note(
    labels: Sequence[int],
    classes: Sequence[str],
    prior: Sequence[float] | None,
    follows: bool,
) -> str | None:
    """Say which classes are, and what to do; nothing if none is.

    Args:
        labels: Predicted classes, N.
        classes: Their names, K.
        prior: Shares that are expected; even ones by default.
        follows: Whether training follows the prior.
    """
    found = skew(labels, classes, prior)
    if found.frequent:
        top, total = found.frequent[0], len(labels)
        count = sum(label == top for label in labels)
        share = 'Nearly all' if count >= NEARLY_ALL * total else 'Many'
        text = f'{share} images ({count} of {total}) were called'
        text += f' {classes[top]}.'
        other = classes[1 if top == 0 else 0]
        shares = f'{classes[top]}=8, {other}=1' + ', ...' * (len(classes) > 2)
        really = 'most of your photos really are of this class'
    elif found.rare:
        names = ', '.join(classes[k] for k in found.rare[:SHOWN])
        more = len(found.rare) - SHOWN
        text = f'Hardly any images were called {names}'
        text += f' and {more} more classes.' if more > 0 else '.'
        shares = f'{classes[found.rare[0]]}=1, ...'
        really = 'your photos really show few of them'
    else:
        return None
    if not follows:
        return f'{text} If that is wrong, label a few in the report'
    return (
        f'{text} If {really}, add --class-prior {shlex.quote(shares)}; if '
        'not, label a few in the report'
    )
