"""Parts of a model that earlier versions called by another name."""

EARLIER_NAMES = {'mask_token': 'masking'}


def rename_parts(state_dict: dict, prefix: str = '') -> None:
    """Give the parts of an earlier version's checkpoint today's names.

    Args:
        state_dict: The tensors by name, changed in place.
        prefix: What the names of the model's parameters start with.
    """
    for earlier, today in EARLIER_NAMES.items():
        start = f'{prefix}{earlier}.'
        for name in [name for name in state_dict if name.startswith(start)]:
            renamed = f'{prefix}{today}.{name.removeprefix(start)}'
            state_dict[renamed] = state_dict.pop(name)
