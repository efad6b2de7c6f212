"""Garbage is looked for again after an import, whatever happens in it."""

import gc

import pytest

from must_mm.utils.lazy import without_collecting


def test_collects_again():
    with pytest.raises(ImportError), without_collecting():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
