"""The same weights are the same function, from a tag or from a file."""

import hashlib
import json
import logging

import open_clip
import pytest
import torch

from must_mm.weights import clip_source, origin
from must_mm.weights.clip_source import (
    check_source,
    find_model,
    find_weights,
)
from must_mm.weights.clip_weights import load_clip
from must_mm.weights.open_clip_start import OpenCLIPStart
from must_mm.weights.origin import function_of, published_by_name
from tests.weights.test_open_clip_start import CLIP, write_clip
from tests.weights.test_start_file import jit_archive

PAIRS = [
    pair
    for pair in open_clip.list_pretrained()
    if open_clip.get_model_config(pair[0])
]


def same(found, expected):
    return (
        found.quick_gelu == expected.quick_gelu
        and found.preprocessing == expected.preprocessing
    )


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'weights')
    return path


def test_every_published_file_is_the_function_of_its_tag(tmp_path):
    """Each pair of open_clip's list: cache of the hub, copy, own name."""
    hub, named = 0, 0
    for model, tag in PAIRS:
        expected = function_of(model, tag)
        config = open_clip.get_pretrained_cfg(model, tag)
        repo, _, file = config.get('hf_hub', '').rpartition('/')
        folders = []
        if repo:
            folder = 'models--' + repo.replace('/', '--')
            folders = [tmp_path / folder / 'snapshots' / '0123']
            if not file:
                folders.append(tmp_path / repo.rpartition('/')[2])
        for folder in folders:
            path = touch(folder / (file or 'open_clip_pytorch_model.bin'))
            assert same(function_of(model, str(path)), expected), path
            hub += 1
        path = touch(tmp_path / f'{model}_{tag}.pt'.replace('/', '-'))
        assert same(function_of(model, str(path)), expected), path
        named += 1
    assert hub > 200 and named == len(PAIRS) > 190


def test_known_by_its_hash_whatever_its_name(tmp_path, monkeypatch):
    path = touch(tmp_path / 'my_clip.pt')
    digest = hashlib.sha256(b'weights').hexdigest()
    for url in (
        f'https://x/{digest}/ViT-B-16.pt',
        f'https://x/a-{digest[:8]}.pt',
    ):
        monkeypatch.setattr(open_clip, 'list_pretrained', lambda: [('a', 'b')])
        monkeypatch.setattr(
            open_clip,
            'get_pretrained_cfg',
            lambda *_, url=url: dict(url=url, quick_gelu=True),
        )
        origin._of_file.cache_clear()
        found = function_of('ViT-B-16', str(path))
        assert found.quick_gelu and 'SHA-256' in found.known
    origin._of_file.cache_clear()


def test_a_name_with_a_hash_in_it_is_not_believed(tmp_path):
    """Somebody's own weights, named as OpenAI's file is."""
    path = touch(tmp_path / 'ViT-B-32.pt')
    assert published_by_name(path) is None
    assert published_by_name(tmp_path / 'b32_400m.pt') == (
        'ViT-B-32',
        'metaclip_400m',
    )


def test_a_config_beside_it_counts(tmp_path):
    path = touch(tmp_path / 'ViT-L-14-laion2b_s32b_b82k.pt')
    config = dict(
        model_cfg=dict(CLIP, quick_gelu=True),
        preprocess_cfg=dict(
            mean=[0.1, 0.2, 0.3], std=[1, 1, 1], resize_mode='squash'
        ),
    )
    (tmp_path / 'open_clip_config.json').write_text(json.dumps(config))
    found = function_of('ViT-L-14', str(path))
    assert found.quick_gelu and found.doubt == ''
    assert list(found.preprocessing['mean']) == [0.1, 0.2, 0.3]
    assert found.preprocessing['resize_mode'] == 'squash'


def test_a_guess_says_what_was_chosen_and_who_differs(tmp_path):
    path = touch(tmp_path / 'mine.pt')
    found = function_of('ViT-L-14', str(path))
    assert not found.quick_gelu
    for words in (
        'mine.pt is no file that open_clip lists',
        "taken with GELU, CLIP's normalisation",
        'openai',
        'QuickGELU',
        'laion2b_s32b_b82k',
        'normalisation by 0.5',
        '--model ViT-L-14-quickgelu',
        'open_clip_config.json',
    ):
        assert words in found.doubt
    # nothing to say where all tags agree, or there are none
    assert function_of('ViT-B-16-SigLIP', str(path)).doubt == ''
    siglip = function_of('ViT-B-16-SigLIP', 'webli')
    assert same(function_of('ViT-B-16-SigLIP', str(path)), siglip)


# ------------------------------------------------------- folders and the hub


def write_folder(folder, name='folder_clip', **config):
    """A folder as open_clip pushes it to the hub."""
    folder.mkdir()
    files = write_clip(folder, name=name)
    state = torch.load(files['pretrained'])
    torch.save(state, folder / 'open_clip_pytorch_model.bin')
    for file in (f'{name}.json', f'{name}.pt'):
        (folder / file).unlink()
    content = dict(model_cfg=CLIP, preprocess_cfg=dict(mean=[0.5] * 3))
    text = json.dumps(content | config)
    (folder / 'open_clip_config.json').write_text(text)
    return folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp('x') / 'clip')


@torch.no_grad()
def test_a_folder_is_what_open_clip_makes_of_it(folder):
    spec = find_model(str(folder))
    assert spec == f'local-dir:{folder}' == find_model(spec)
    assert find_model(str(folder / 'open_clip_config.json')) == spec
    weights = find_weights(spec, None)
    assert weights == str(folder / 'open_clip_pytorch_model.bin')
    assert check_source(spec, weights) == []
    function = function_of(spec, weights)
    assert function.quick_gelu
    assert list(function.preprocessing['mean']) == [0.5] * 3
    found = load_clip(spec, weights)
    expected = open_clip.create_model(spec).eval()
    images, texts = torch.randn(2, 3, 32, 32), torch.randint(9, (3, 16))
    for ours, theirs in zip(
        found(images, texts), expected(images, texts), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_folder_starts_a_run(folder, tmp_path):
    options = dict(classes=['a', 'b'], templates=['{}'], cache_dir=tmp_path)
    by_folder = OpenCLIPStart(str(folder), **options)
    state = by_folder.load()
    assert state['head.classifier'].shape == (24, 2)
    assert by_folder.path.parent == tmp_path
    # the weights of a folder under the name of an architecture
    open_clip.add_model_config(_plain(tmp_path))
    by_name = OpenCLIPStart('plain_folder', str(folder), **options)
    assert torch.equal(by_name.load()['neck.proj'], state['neck.proj'])


def _plain(tmp_path):
    path = tmp_path / 'plain_folder.json'
    path.write_text(json.dumps(CLIP))
    return path


def test_the_hub_is_asked_for_config_and_weights(
    folder, tmp_path, monkeypatch
):
    """As open_clip does; here a folder stands in for the hub."""
    asked = []

    def download(model_id, filename=None, **_options):
        asked.append((model_id, filename))
        return str(folder / (filename or 'open_clip_pytorch_model.bin'))

    for module in (open_clip.pretrained, open_clip.factory):
        monkeypatch.setattr(module, 'download_pretrained_from_hf', download)
    monkeypatch.setattr(clip_source, '_is_here', lambda model: False)
    start = OpenCLIPStart(
        'hf-hub:me/clip',
        classes=['a', 'b'],
        templates=['{}'],
        cache_dir=tmp_path,
    )
    found = start.load()['neck.proj']
    state = torch.load(folder / 'open_clip_pytorch_model.bin')
    assert torch.equal(found, state['visual.proj'])
    assert ('me/clip', 'open_clip_config.json') in asked
    assert ('me/clip', None) in asked


def test_nothing_of_the_hub_is_fetched_when_it_may_not(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError('fetched')

    monkeypatch.setattr(
        open_clip.pretrained, 'download_pretrained_from_hf', refuse
    )
    monkeypatch.setattr(clip_source, '_is_here', lambda model: False)
    with pytest.raises(ValueError, match='me/x: it is not here.*folder'):
        check_source('hf-hub:me/x', '', fetch=False)
    with pytest.raises(ValueError, match='brings its own weights'):
        find_weights('hf-hub:me/x', 'openai')
    with pytest.raises(ValueError, match='OWNER/NAME'):
        find_model('hf-hub:me')


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='no open_clip_config.json'):
        find_model(str(tmp_path))
    with pytest.raises(ValueError, match='no file of weights'):
        find_weights('ViT-B-16', str(tmp_path))
    for name in ('a.pt', 'b.pt'):
        touch(tmp_path / name)
    with pytest.raises(ValueError, match=r'several.*a\.pt, b\.pt'):
        find_weights('ViT-B-16', str(tmp_path))
    (tmp_path / 'open_clip_config.json').write_text('{}')
    with pytest.raises(ValueError, match='model_cfg'):
        find_model(str(tmp_path))
    (tmp_path / 'config.json').write_text('{"model_type": "clip"}')
    with pytest.raises(ValueError, match="it is transformers'"):
        find_model(str(tmp_path / 'config.json'))


def test_a_known_name_is_no_folder(tmp_path, monkeypatch):
    (tmp_path / 'ViT-B-16').mkdir()
    (tmp_path / 'openai').write_text('')
    monkeypatch.chdir(tmp_path)
    assert find_model('ViT-B-16') == 'ViT-B-16'
    assert find_weights('ViT-B-16', 'openai') == 'openai'
    assert function_of('ViT-B-16', 'openai').quick_gelu


# ------------------------------------------------------------------ others


def test_siglip_without_transformers_is_said_first(monkeypatch):
    monkeypatch.setattr(
        clip_source.importlib.util, 'find_spec', lambda name: None
    )
    for model in ('ViT-B-16-SigLIP', 'xlm-roberta-base-ViT-B-32'):
        with pytest.raises(ImportError, match=rf'{model}.*must_mm\[siglip\]'):
            check_source(model, '', fetch=False)
    assert check_source('ViT-B-16', 'openai', fetch=False) == []


def test_no_alarm_of_random_weights(tmp_path, caplog):
    """OpenAI's archive, and any file: the weights come a moment later."""
    files = write_clip(tmp_path, name='alarm_clip')
    archive = tmp_path / 'archive.pt'
    jit_archive(torch.load(files['pretrained']), archive)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for path in (archive, files['pretrained']):
            load_clip('alarm_clip', str(path))
    assert 'random' not in caplog.text
    # and the filter goes when it is done
    with caplog.at_level(logging.WARNING):
        open_clip.create_model('alarm_clip')
    assert 'random' in caplog.text
