"""What is not a whole checkpoint is named, in one line."""

import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from must_mm.checkpoints.containers import explain, is_safetensors
from must_mm.checkpoints.plain import load_tensors

POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:cdcdcd
size 12345
"""


def whole(tmp_path, kind):
    path = tmp_path / f'whole.{kind}'
    content = dict(x=torch.randn(50, 50))
    if kind == 'safetensors':
        save_file(content, path)
    else:
        torch.save(content, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ('name', 'content', 'what', 'todo'),
    [
        ('a.pt', b'', 'is empty', 'get it again'),
        ('a.bin', POINTER, 'Git LFS pointer', 'git lfs pull'),
        ('a.pt', b'\n<!DOCTYPE html><html>', 'web page', 'the file itself'),
        ('a.pt', b'<?xml version="1.0"?><Error>', 'web page', 'log in'),
        ('a.pt', b'\x1f\x8b\x08' + b'\0' * 50, 'gzip archive', 'unpack'),
        ('a.h5', b'\x89HDF\r\n' + b'\0' * 50, 'HDF5', r'\.pt'),
        ('a.pt', b'\0' * 5000, 'zeros', 'get it again'),
        ('a.pt', b'Access denied\n', "begins with 'access denied'", r'\.pt'),
        (
            'model.safetensors.index.json',
            b'{"weight_map": {}}',
            'lists the parts',
            'as one file',
        ),
    ],
)
def test_strangers(tmp_path, name, content, what, todo):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        load_tensors(path)
    said = str(error.value)
    assert said.startswith(str(path)) and '\n' not in said
    assert re.search(what, said) and re.search(todo, said)
    assert len(said.replace(str(path), '')) < 200


@pytest.mark.parametrize('kind', ['safetensors', 'pt'])
@pytest.mark.parametrize('share', [0.3, 0.9])
def test_half_a_download(tmp_path, kind, share):
    content = whole(tmp_path, kind)
    path = tmp_path / f'half.{kind}'
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match='ends too early.*get it again'):
        load_tensors(path)


@pytest.mark.parametrize('kind', ['safetensors', 'pt'])
@pytest.mark.parametrize('suffix', ['bin', 'pt', 'safetensors'])
def test_the_content_counts_not_the_suffix(tmp_path, kind, suffix):
    path = tmp_path / f'x.{suffix}'
    path.write_bytes(whole(tmp_path, kind))
    assert explain(path) is None
    assert is_safetensors(path) == (kind == 'safetensors')
    assert load_tensors(path)['x'].shape == (50, 50)


def test_old_formats_are_no_strangers(tmp_path):
    path = tmp_path / 'old.pt'
    torch.save(
        dict(x=torch.ones(3)), path, _use_new_zipfile_serialization=False
    )
    assert torch.equal(load_tensors(path)['x'], torch.ones(3))


@pytest.mark.parametrize('module', ['numpy.core', 'numpy._core'])
def test_scalars_of_either_numpy(tmp_path, module):
    """A checkpoint's epoch or best score, written under NumPy 1 or 2."""
    content = dict(best=np.float64(0.5), epoch=np.int64(3), x=np.ones(2))
    path = tmp_path / 'x.pt'
    here = np.ones(1).__reduce__()[0].__module__.removesuffix('.multiarray')
    stored = pickle.dumps(content, 2)
    assert here.encode() in stored
    torch.save(content, path, _use_new_zipfile_serialization=False)
    # in this protocol, names end with a line and have no length
    path.write_bytes(
        path.read_bytes().replace(
            f'c{here}.multiarray\n'.encode(),
            f'c{module}.multiarray\n'.encode(),
        )
    )
    found = load_tensors(path)
    assert found['best'] == 0.5 and found['epoch'] == 3
    assert found['x'].tolist() == [1, 1]
