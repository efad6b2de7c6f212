"""What every evaluation asks of features and labels."""

import torch


def check_features(
    features: torch.Tensor, labels: torch.Tensor | None, what: str
) -> None:
    """Raise unless features can be evaluated.

    Args:
        features: (N, D).
        labels: (N,), integers from 0.
        what: What the features are, for the error message.

    Raises:
        ValueError: If labels are missing, the shapes do not fit, there is no
            feature, or a feature is not finite.
    """
    if labels is None:
        raise ValueError(f'{what}: labels are missing, and are needed here')
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f'{what}: features must be (N, D) and labels (N,), got '
            f'{tuple(features.shape)} and {tuple(labels.shape)}'
        )
    if not len(features):
        raise ValueError(f'{what}: there are no features')
    if labels.is_floating_point() or labels.min() < 0:
        raise ValueError(f'{what}: labels must be integers from 0')
    # NaN and infinities reach the extremes; no mask of all values is needed,
    # nor a double precision, which Apple's devices lack
    finite = all(value.isfinite() for value in features.aminmax())
    if not finite:
        raise ValueError(f'{what}: some features are not finite')


def check_pair(
    train: torch.Tensor,
    train_labels: torch.Tensor | None,
    test: torch.Tensor,
    test_labels: torch.Tensor | None,
) -> None:
    """Check features to learn from and features to be judged on.

    Raises:
        ValueError: If either is unusable or their widths differ.
    """
    check_features(train, train_labels, 'training features')
    check_features(test, test_labels, 'test features')
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f'training features have width {train.shape[1]}, test features '
            f'{test.shape[1]}: they come from different models'
        )
