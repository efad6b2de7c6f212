"""Whether two samples come from one distribution."""

import numpy as np


def assert_same_mean(ours, published, errors: float = 5) -> None:
    """Means differ by no more than so many standard errors.

    Five are exceeded by chance once in a million times.
    """
    ours, published = np.asarray(ours, float), np.asarray(published, float)
    error = np.sqrt(ours.var() / len(ours) + published.var() / len(published))
    difference = abs(ours.mean() - published.mean())
    assert difference <= errors * error + 1e-9, (
        f'{ours.mean()} and {published.mean()}: {difference / error} errors'
    )


def assert_same_distribution(ours, published) -> None:
    """Mean, variance and distribution function agree.

    The largest gap between two distribution functions (Kolmogorov and
    Smirnov) exceeds three times its scale once in 30 million times.
    """
    ours, published = np.asarray(ours, float), np.asarray(published, float)
    assert_same_mean(ours, published)
    assert_same_mean(
        (ours - ours.mean()) ** 2, (published - published.mean()) ** 2
    )
    grid = np.concatenate([ours, published])
    ours, published = (
        np.searchsorted(np.sort(sample), grid, 'right') / len(sample)
        for sample in (ours, published)
    )
    scale = np.sqrt(2 / (len(grid) / 2))
    assert np.abs(ours - published).max() <= 3 * scale
