"""Without MMPretrain, the import says what to install."""

import pytest

from must_mm.utils import engine


@pytest.mark.parametrize(
    ('there', 'command'),
    [
        ([], 'pip install "must_mm[upstream]"'),
        (['mmcv', 'mmengine'], 'pip install "must_mm[upstream]"'),
        (['mmengine', 'mmpretrain'], 'pip install --no-deps mmcv-lite'),
    ],
)
def test_missing_packages_are_named(monkeypatch, there, command):
    monkeypatch.setattr(
        engine, 'find_spec', lambda name: name if name in there else None
    )
    with pytest.raises(ImportError) as error:
        engine.check_engine()
    assert command in str(error.value)
    for name in {'mmcv', 'mmengine', 'mmpretrain'} - set(there):
        assert name in str(error.value).split('\n')[0]


def test_it_is_silent_where_all_is_there():
    engine.check_engine()
