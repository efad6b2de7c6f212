"""The pipeline in a data set's config, however deep it lies."""

from collections.abc import Mapping


def pipeline_of(dataset: object) -> list:
    """Steps of a data set, or of the first one that it is made of.

    ``ConcatDataset`` has its parts as ``datasets``, MMEngine's and
    MMPretrain's other wrappers have theirs as ``dataset``.

    Args:
        dataset: Config of a data set.

    Returns:
        Empty where there are none.
    """
    if not isinstance(dataset, Mapping):  # none, or a name
        return []
    if dataset.get('pipeline'):
        return dataset['pipeline']
    parts = dataset.get('datasets') or [dataset.get('dataset')]
    return pipeline_of(parts[0])
