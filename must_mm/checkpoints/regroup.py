"""The optimizer's state of a run that had a group for every parameter."""

from collections.abc import Sequence


def regroup(checkpoint: dict, groups: Sequence[dict]) -> None:
    """Join a checkpoint's groups as the optimizer's own are, in place.

    Earlier versions, and MMPretrain's layer decay, give every parameter a
    group; what a schedule keeps of each group is joined likewise. A state of
    any other form stays as it is, to be checked as any.

    Args:
        checkpoint: Content of a checkpoint, with ``optimizer`` and perhaps
            ``param_schedulers``.
        groups: The optimizer's groups, with ``param_names`` if their
            parameters had names.
    """
    try:
        saved = checkpoint['optimizer']['param_groups']
        moments = checkpoint['optimizer']['state']
        place = {group['param_name']: i for i, group in enumerate(saved)}
        members = [
            [place[name] for name in group['param_names']] for group in groups
        ]
        order = sum(members, [])
        if sorted(order) != [group['params'][0] for group in saved]:
            return
    except (IndexError, KeyError, TypeError):
        return
    joined, end = [], 0
    for places in members:
        begin, end = end, end + len(places)
        settings = dict(saved[places[0]], params=[*range(begin, end)])
        for key in ('param_name', 'layer_id'):
            settings.pop(key, None)
        names = [saved[i]['param_name'] for i in places]
        joined.append(dict(settings, param_names=names))
    state = {new: moments[i] for new, i in enumerate(order) if i in moments}
    checkpoint['optimizer'].update(param_groups=joined, state=state)
    for schedule in checkpoint.get('param_schedulers', []):
        for values in schedule.values():
            # MMEngine's wrapper adds a group of its own to those it has
            if isinstance(values, list) and len(values) >= len(saved):
                values[: len(saved)] = [values[i] for i, *_ in members]
