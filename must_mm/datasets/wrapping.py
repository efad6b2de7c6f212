"""Data sets around others."""

from mmpretrain.registry import DATASETS

from ..utils.validation import check_type

KEY = 'train_dataloader.dataset'


def build_inside(dataset: str | dict, **options):
    """Build the data set inside a wrapper.

    Args:
        dataset: Its config, as MMEngine's wrappers have it; or its type, so
            that a config need not nest what it overrides.
        options: Arguments of the data set, beside those of its config.

    Raises:
        TypeError: If it is neither.
    """
    check_type(f'{KEY}.dataset', dataset, str, dict)
    config = dict(type=dataset) if isinstance(dataset, str) else dataset
    return DATASETS.build(dict(config, **options))


def parts_of(dataset) -> list:
    """Return the data sets that a wrapper wraps; none where it is none."""
    inside = getattr(dataset, 'dataset', None)
    parts = getattr(dataset, 'datasets', None) or []
    if not parts and hasattr(inside, '__getitem__'):
        parts = [inside]
    return list(parts)
