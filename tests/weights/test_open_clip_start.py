"""The start from open_clip: equal logits, one build, clear errors."""

import json
import os
import threading
import time
from functools import partial
from hashlib import sha256
from urllib.error import URLError

import open_clip
import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from mmpretrain.models.utils import QuickGELU
from mmpretrain.registry import MODELS

from must_mm.weights import open_clip_start
from must_mm.weights.clip_weights import is_here
from must_mm.weights.open_clip_start import OpenCLIPStart
from must_mm.weights.text import embed_prompts
from tests.tiny import tiny_config

NAMES = ['ant', 'bee', 'a very long name of a cat', 'dog']
TEMPLATES = ['a photo of a {}.', 'the {}.', '{}']
CLIP = dict(
    embed_dim=24,
    quick_gelu=True,
    vision_cfg=dict(
        image_size=32, patch_size=8, width=128, layers=2, head_width=64
    ),
    text_cfg=dict(
        context_length=16, vocab_size=49408, width=32, heads=1, layers=1
    ),
)


def write_clip(folder, seed=0, name='random_clip', **changes) -> dict:
    """Write a random CLIP; return the options that name its files."""
    config = folder / f'{name}.json'
    config.write_text(json.dumps({**CLIP, **changes}))
    open_clip.add_model_config(config)
    torch.manual_seed(seed)
    clip = open_clip.create_model(name)
    with torch.no_grad():
        for param in clip.parameters():  # norms and biases are not trivial
            param += 0.05 * torch.randn_like(param)
        clip.logit_scale.fill_(3.0)
    weights = folder / f'{name}.pt'
    torch.save(clip.state_dict(), weights)
    return dict(model=str(config), pretrained=str(weights))


@pytest.fixture(scope='module')
def clip_files(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp('clip'))


@pytest.fixture
def start_options(clip_files):
    return dict(classes=NAMES, templates=TEMPLATES, **clip_files)


def model_config(images, tmp_path, start: dict, **arch):
    sizes = dict(
        embed_dims=128, num_layers=2, num_heads=2, feedforward_channels=512
    )
    return tiny_config(
        images,
        tmp_path / 'run',
        {
            'model.backbone.arch': {**sizes, **arch},
            'model.neck': dict(in_channels=128, out_channels=24),
            'model.head.in_channels': 24,
            'model.decoder.in_channels': 128,
            'model.start': dict(type='OpenCLIPStart', **start),
        },
    ).model


@pytest.fixture
def must_config(images, tmp_path, start_options):
    return model_config(images, tmp_path, start_options)


def clip_logits(files: dict, images: torch.Tensor) -> torch.Tensor:
    """What open_clip's own zero-shot classifier says."""
    name = os.path.basename(files['model']).removesuffix('.json')
    clip = open_clip.create_model(name, pretrained=files['pretrained']).eval()
    tokenize = open_clip.get_tokenizer(name)
    columns = []
    for label in NAMES:
        text = tokenize([template.format(label) for template in TEMPLATES])
        text = clip.encode_text(text, normalize=True).mean(0)
        columns.append(text / text.norm())
    image = clip.encode_image(images, normalize=True)
    return clip.logit_scale.exp() * image @ torch.stack(columns, 1)


@torch.no_grad()
def test_logits_equal_those_of_open_clip(must_config, clip_files):
    """Tolerance 1e-5 of the largest: two float32 towers, other kernels."""
    model = MODELS.build(must_config)
    model.init_weights()
    model.eval()
    images = torch.randn(8, 3, 32, 32)
    expected = clip_logits(clip_files, images)
    error = (model(images) - expected).abs().max() / expected.abs().max()
    assert error <= 1e-5
    assert torch.equal(model.teacher(images), model(images))
    # the images and the classes do matter
    assert expected.std(0).min() > 1e-2 and expected.std(1).min() > 1e-2
    assert model.head.logit_scale.item() == pytest.approx(20.0855, rel=1e-5)


def test_activation_is_quick_gelu(must_config):
    model = MODELS.build(must_config)
    found = [
        module
        for module in model.backbone.modules()
        if isinstance(module, QuickGELU)
    ]
    assert len(found) == 2


def test_initialiser_of_the_children_does_not_overwrite(must_config):
    model = MODELS.build(must_config)
    model.init_weights()
    saved = OpenCLIPStart(
        **{k: v for k, v in must_config.start.items() if k != 'type'}
    ).load()
    for name, value in saved.items():
        found = model.state_dict()[name]
        assert torch.equal(found, value.reshape(found.shape)), name


# -------------------------------------------------------------------- cache


def test_second_use_reads_the_cache(start_options, monkeypatch):
    first = OpenCLIPStart(**start_options).load()

    def refuse(*_args, **_kwargs):
        raise AssertionError('the towers were built again')

    monkeypatch.setattr(open_clip, 'create_model', refuse)
    monkeypatch.setattr(open_clip, 'get_tokenizer', refuse)
    second = OpenCLIPStart(**start_options).load()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    # and the patch works: another template has to be built
    with pytest.raises(AssertionError, match='built again'):
        OpenCLIPStart(**dict(start_options, templates=['{}'])).load()


def test_cache_is_named_by_content(start_options, tmp_path):
    def path(**changes):
        return OpenCLIPStart(**{**start_options, **changes}).path

    reference = path()
    assert path() == reference
    # the same content from a file, and the same weights under another name
    (tmp_path / 'names.txt').write_text('\n'.join(NAMES))
    assert path(classes=str(tmp_path / 'names.txt')) == reference
    copy = tmp_path / 'copy.pt'
    with open(start_options['pretrained'], 'rb') as file:
        copy.write_bytes(file.read())
    assert path(pretrained=str(copy)) == reference

    content = torch.load(copy)
    content['visual.proj'][0, 0] += 1
    torch.save(content, copy)
    others = {
        path(classes=NAMES[::-1]),
        path(classes=[*NAMES[:3], 'Dog']),
        path(templates=TEMPLATES[::-1]),
        path(templates=TEMPLATES[:2]),
        path(pretrained=str(copy)),
    }
    assert len(others) == 5 and reference not in others


def test_cache_depends_on_the_architecture_not_its_name(tmp_path):
    paths = set()
    for head_width in (64, 32):
        folder = tmp_path / str(head_width)
        folder.mkdir()
        files = write_clip(
            folder,
            name='changing_clip',
            vision_cfg={**CLIP['vision_cfg'], 'head_width': head_width},
        )
        start = OpenCLIPStart(classes=NAMES, templates=TEMPLATES, **files)
        paths.add(start.path)
    assert len(paths) == 2


def test_weights_are_read_once_for_the_name(start_options, monkeypatch):
    """Gigabytes, at the start of each of eight processes."""
    first = OpenCLIPStart(**start_options).path
    monkeypatch.setattr(
        open_clip_start.hashlib, 'sha256', lambda data: sha256(data)
    )  # without data, as for a file, it would fail
    assert OpenCLIPStart(**start_options).path == first


def _process(start: OpenCLIPStart, folder) -> None:
    build = OpenCLIPStart.build

    def counted(self, **options):
        (folder / f'built_by_{os.getpid()}').touch()
        build(self, **options)

    OpenCLIPStart.build = counted
    torch.save(start.load(), folder / f'loaded_by_{os.getpid()}')


def test_one_process_builds_while_the_others_wait(start_options, tmp_path):
    """No process group: nothing that could time out."""
    fork = mp.get_context('fork')
    start = OpenCLIPStart(cache_dir=str(tmp_path / 'cache'), **start_options)
    processes = [
        fork.Process(target=_process, args=(start, tmp_path)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(list(tmp_path.glob('built_by_*'))) == 1
    first, *others = map(torch.load, tmp_path.glob('loaded_by_*'))
    assert len(others) == 2
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(
        open_clip_start, 'print_log', lambda line, _: lines.append(line)
    )
    return lines


def test_who_waits_says_so(start_options, said):
    start = OpenCLIPStart(**start_options)
    with open_clip_start.one_at_a_time(start.path):
        waiting = threading.Thread(target=start.prepare)
        waiting.start()
        patience = time.monotonic() + 60
        while not said and time.monotonic() < patience:
            time.sleep(0.01)
        start.path.touch()  # stands for the file
    waiting.join(60)
    assert said == [f'waiting for the process that makes {start.path}']
    assert start.path.stat().st_size == 0


def test_interrupted_build_goes_on(start_options, monkeypatch, said):
    """And ends with the same classifier, from the prompts that were left."""
    monkeypatch.setattr(open_clip_start, 'SHOW_EVERY', 0)
    batches = []

    def embed(*args, stop_after=None, **known):
        for count, found in enumerate(
            embed_prompts(*args, batch_size=3, **known), 1
        ):
            batches.append(found[0])
            yield found
            if count == stop_after:
                raise KeyboardInterrupt

    start = OpenCLIPStart(**start_options)
    monkeypatch.setattr(open_clip_start, 'embed_prompts', embed)
    whole = start.load()
    assert batches == [3, 6, 9, 12]
    assert '3 of 12 prompts are embedded, about 0:00:0' in said[1]

    start.path.unlink()
    monkeypatch.setattr(
        open_clip_start, 'embed_prompts', partial(embed, stop_after=2)
    )
    with pytest.raises(KeyboardInterrupt):
        start.prepare()
    assert not start.path.exists()
    batches.clear()
    monkeypatch.setattr(open_clip_start, 'embed_prompts', embed)
    again = OpenCLIPStart(**start_options).load()
    assert batches == [9, 12]
    assert '6 of 12 prompts were embedded before' in said
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    # nothing is left beside the file, its lock and the digest
    assert {path.name for path in start.cache_dir.iterdir()} == {
        start.path.name,
        f'{start.path.name}.lock',
        'digests',
    }


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    'changes, error, message',
    [
        (
            dict(model='ViT-Z-99'),
            ValueError,
            r"model\.start\.model.*'ViT-Z-99'.*list_models",
        ),
        (
            dict(model='/nowhere/x.json'),
            FileNotFoundError,
            r'model\.start\.model.*/nowhere/x\.json',
        ),
        (
            dict(model='ViT-B-16', pretrained='typo'),
            ValueError,
            r"model\.start\.pretrained: 'typo'.*openai",
        ),
        (dict(pretrained='/nowhere/x.pt'), ValueError, r'start\.pretrained'),
        (dict(classes=[]), ValueError, r'model\.start\.classes is empty'),
        (
            dict(classes=['ant', 'bee', 'ant']),
            ValueError,
            r"model\.start\.classes.*'ant'.*allow_duplicates",
        ),
        (
            dict(templates=['a photo']),
            ValueError,
            r'model\.start\.templates.*\{\}',
        ),
    ],
)
def test_error_names_the_key(start_options, changes, error, message):
    with pytest.raises(error, match=message):
        OpenCLIPStart(**{**start_options, **changes})


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"embed_dim": ', 'it is no JSON'),
        ('{"embed_dim": 16, "vision_cfg": {}}', 'text_cfg'),
        ('[]', 'embed_dim, vision_cfg, text_cfg'),
    ],
)
def test_file_that_is_no_model_config(start_options, tmp_path, text, message):
    # the name is open_clip's: its own model must not stand in
    path = tmp_path / 'ViT-B-16.json'
    path.write_text(text)
    with pytest.raises(
        ValueError, match=rf'model\.start\.model: {path} is no.*{message}'
    ):
        OpenCLIPStart(**dict(start_options, model=str(path)))
    # nor is it kept, where it would be in the way of the next
    OpenCLIPStart(**start_options)


def test_duplicates_are_allowed_on_request(start_options):
    names = ['ant', 'bee', 'ant', 'dog']
    start = OpenCLIPStart(
        **dict(start_options, classes=names, allow_duplicates=True)
    )
    columns = start.load()['head.classifier']
    assert torch.equal(columns[:, 0], columns[:, 2])


def test_other_number_of_classes_than_the_head(must_config):
    must_config.start.classes = NAMES[:3]
    with pytest.raises(
        ValueError, match=r'model\.start\.classes has 3.*num_classes is 4'
    ):
        MODELS.build(must_config).init_weights()


@pytest.mark.parametrize(
    'failure',
    [
        URLError('no route to host'),
        # what open_clip raises if the Hugging Face hub cannot be reached
        FileNotFoundError('Failed to download file (x) for y.'),
        RuntimeError('the SHA256 checksum does not not match'),
    ],
    ids=lambda error: type(error).__name__,
)
def test_weights_that_cannot_be_fetched(start_options, monkeypatch, failure):
    def fail(*_args, **_kwargs):
        raise failure

    monkeypatch.setattr(open_clip.pretrained, 'download_pretrained', fail)
    options = dict(start_options, model='ViT-B-16', pretrained='openai')
    with pytest.raises(
        RuntimeError,
        match=r"could not be fetched from.*model\.start\.pretrained='/path",
    ):
        OpenCLIPStart(**options).load()


def test_weights_that_were_fetched_before(tmp_path, monkeypatch):
    there = {}
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setattr(
        'huggingface_hub.try_to_load_from_cache',
        lambda repo, name: there.get((repo, name)),
    )
    monkeypatch.setattr(
        open_clip, 'get_pretrained_cfg', lambda *_: dict(url='https://x/y.pt')
    )
    assert not is_here('ViT-B-16', 'openai')
    (tmp_path / '.cache' / 'clip').mkdir(parents=True)
    (tmp_path / '.cache' / 'clip' / 'y.pt').write_text('')
    assert is_here('ViT-B-16', 'openai')
    assert not is_here('hf-hub:someone/clip', '')
    there['someone/clip', 'open_clip_model.safetensors'] = 'a path'
    assert is_here('hf-hub:someone/clip', '')


class MakesFolder:
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_hostile_weights_are_not_run(start_options, tmp_path):
    marker, weights = tmp_path / 'code_was_run', tmp_path / 'hostile.pt'
    torch.save(dict(x=MakesFolder(marker)), weights)
    start = OpenCLIPStart(**dict(start_options, pretrained=str(weights)))
    with pytest.raises(ValueError, match=r'model\.start\.pretrained'):
        start.load()
    assert not marker.exists()
    assert not start.path.exists()


def test_damaged_weights_name_the_key(start_options, tmp_path):
    weights = tmp_path / 'cut.pt'
    with open(start_options['pretrained'], 'rb') as file:
        weights.write_bytes(file.read(5000))
    with pytest.raises(ValueError, match=r'model\.start\.pretrained.*cut\.p'):
        OpenCLIPStart(**dict(start_options, pretrained=str(weights))).load()


@pytest.mark.parametrize('layers', [1, 3])
def test_tower_of_another_depth(images, tmp_path, start_options, layers):
    config = model_config(images, tmp_path, start_options, num_layers=layers)
    with pytest.raises(ValueError, match='another architecture.*layers'):
        MODELS.build(config).init_weights()


def test_other_number_of_heads_is_refused(images, tmp_path, start_options):
    """The shapes fit, the function differs: nothing else would tell."""
    config = model_config(images, tmp_path, start_options, num_heads=4)
    with pytest.raises(ValueError, match='model.backbone.*heads'):
        MODELS.build(config).init_weights()


def test_other_activation_is_refused(images, tmp_path):
    """Likewise: a tower with GELU in a model with QuickGELU."""
    files = write_clip(tmp_path, name='gelu_clip', quick_gelu=False)
    config = model_config(
        images, tmp_path, dict(classes=NAMES, templates=TEMPLATES, **files)
    )
    with pytest.raises(ValueError, match='model.backbone.*GELU'):
        MODELS.build(config).init_weights()


def test_openai_tag_brings_its_activation(start_options, monkeypatch):
    """open_clip only warns if the text tower has the wrong activation."""
    asked = {}

    def create(model, **options):
        asked.update(options, model=model)
        raise ValueError('enough')

    monkeypatch.setattr(
        open_clip.pretrained,
        'download_pretrained',
        lambda config: start_options['pretrained'],
    )
    monkeypatch.setattr(open_clip, 'create_model', create)
    options = dict(start_options, model='ViT-B-16', pretrained='openai')
    with pytest.raises(ValueError, match='enough'):
        OpenCLIPStart(**options).load()
    assert asked['force_quick_gelu'] and asked['model'] == 'ViT-B-16'


@torch.no_grad()
def test_zero_shot_of_the_cache_is_normalised(start_options):
    columns = OpenCLIPStart(**start_options).load()['head.classifier']
    torch.testing.assert_close(
        columns.norm(dim=0), torch.ones(4), rtol=1e-6, atol=0
    )
    assert not torch.allclose(columns, F.normalize(columns.flip(1), dim=0))
