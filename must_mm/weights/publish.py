"""From a checkpoint of MUST to a plain classifier that needs nothing of it.

A CLIP vision transformer becomes parts of MMPretrain alone, which compute the
same logits; other backbones and necks are kept as they are.
"""

import ast
import copy
import hashlib
import io
import math
from pathlib import Path

import torch
from mmengine.config import Config
from mmpretrain import get_model
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS

from ..checkpoints.plain import load_tensors
from ..checkpoints.whole_file import write_whole
from ..utils.pipelines import pipeline_of
from .plain_config import check_types

_PARTS = ('backbone', 'neck', 'head')
# Heads of MUST, MMPretrain's heads with the same function, and the linear
# layers that go from one to the other.
_FOLDED = {
    'PseudoLabelHead': 'LinearClsHead',
    'LinearPseudoLabelHead': 'LinearClsHead',
    'DistilledPseudoLabelHead': 'DeiTClsHead',
}
_LAYERS = {
    'LinearClsHead': {'fc': 'fc'},
    'DeiTClsHead': {'fc': 'layers.head', 'fc_dist': 'layers.head_dist'},
}


class _DictCalls(ast.NodeTransformer):
    """Turns ``dict({'a b': 1}, c=2)`` into the literal it stands for."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        named = node.keywords
        if (
            isinstance(node.func, ast.Name)
            and node.func.id == 'dict'
            and all(isinstance(arg, ast.Dict) for arg in node.args)
            and all(item.arg for item in named)
        ):
            keys = [key for arg in node.args for key in arg.keys]
            values = [value for arg in node.args for value in arg.values]
            return ast.Dict(
                keys + [ast.Constant(item.arg) for item in named],
                values + [item.value for item in named],
            )
        return node


def read_config(text: str) -> dict:
    """Read the config text that MMEngine keeps in checkpoints, as data.

    Nothing is executed: literals and calls of ``dict`` are all there is.

    Raises:
        ValueError: If there is anything else.
    """
    config = {}
    for node in ast.parse(text).body:
        if not isinstance(node, ast.Assign) or not isinstance(
            node.targets[0], ast.Name
        ):
            raise ValueError(
                'the config in the checkpoint holds more than settings: '
                f'{ast.unparse(node)[:60]!r}'
            )
        name, source = node.targets[0].id, ast.unparse(node.value)
        try:
            config[name] = ast.literal_eval(_DictCalls().visit(node.value))
        except ValueError as error:
            raise ValueError(
                'the config in the checkpoint holds more than literals: '
                f'{name} = {source[:60]!r}'
            ) from error
    return config


def plain_classifier(
    config: dict, state: dict[str, torch.Tensor]
) -> tuple[dict, dict[str, torch.Tensor]]:
    """Replace the parts of MUST by MMPretrain's where it has them.

    Args:
        config: Config of a classifier: ``backbone``, ``neck``, ``head``.
        state: Its parameters and buffers.

    Returns:
        Config and parameters of a classifier with the same logits.
    """
    model = {
        part: copy.deepcopy(config[part])
        for part in _PARTS
        if config.get(part)
    }
    state = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith('head.fairness_loss.')
    }
    if model['head']['type'] in _FOLDED:
        _fold_scale(model, state)
    if model['backbone']['type'] == 'LeanVisionTransformer':
        model['backbone']['type'] = 'VisionTransformer'  # does without us
    if (
        model['backbone']['type'] == 'VisionTransformer'
        and model.get('neck', {}).get('type') == 'CLIPProjection'
        and model['head']['type'] == 'LinearClsHead'
    ):
        _use_linear_neck(model, state)
    return model, {k: v.detach().contiguous() for k, v in state.items()}


def _fold_scale(model: dict, state: dict) -> None:
    """Make the head MMPretrain's, the logit scale a part of its weights."""
    scale = state.pop('head.logit_scale')
    if 'head.classifier' in state:  # of text, without a bias
        weight = state.pop('head.classifier').T
        state['head.fc.weight'] = weight
        state['head.fc.bias'] = weight.new_zeros(len(weight))
    head = model['head']
    model['head'] = dict(
        type=_FOLDED[head['type']],
        num_classes=head['num_classes'],
        in_channels=head['in_channels'],
    )
    for layer, target in _LAYERS[model['head']['type']].items():
        for kind in ('weight', 'bias'):
            value = state.pop(f'head.{layer}.{kind}')
            state[f'head.{target}.{kind}'] = scale * value


def _use_linear_neck(model: dict, state: dict) -> None:
    """Normalise the class token's projection by a LayerNorm.

    MMPretrain has no neck that scales to unit length, but of ``(y, -y)`` the
    mean is 0 and the variance ``|y|^2 / E``: LayerNorm makes of it
    ``sqrt(E) (y, -y) / |y|``, and the head reads the first half.
    """
    proj = state.pop('neck.proj').T  # (E, D)
    embed, width = proj.shape
    model['backbone'].update(final_norm=True, out_type='cls_token')
    model['neck'] = dict(
        type='LinearNeck',
        in_channels=width,
        out_channels=2 * embed,
        norm_cfg=dict(type='LN', eps=1e-12),
    )
    model['head']['in_channels'] = 2 * embed
    for kind in ('weight', 'bias'):
        state[f'backbone.ln1.{kind}'] = state.pop(f'neck.ln_post.{kind}')
    state['neck.fc.weight'] = torch.cat([proj, -proj])
    state['neck.fc.bias'] = proj.new_zeros(2 * embed)
    state['neck.norm.weight'] = proj.new_ones(2 * embed)
    state['neck.norm.bias'] = proj.new_zeros(2 * embed)
    weight = state['head.fc.weight'] / math.sqrt(embed)
    state['head.fc.weight'] = torch.cat(
        [weight, torch.zeros_like(weight)], dim=1
    )


def read_trained(
    path: str | Path, teacher: bool
) -> tuple[dict, dict[str, torch.Tensor], list[str] | None]:
    """Read student or teacher from a checkpoint.

    Class names are those of the data set the run trained on, or else those
    that it started with.

    Args:
        path: A checkpoint of a MUST run, or a converted zero-shot classifier.
        teacher: Whether the teacher is wanted.

    Returns:
        Its config, with ``model`` and ``test_dataloader``; its state dict;
        and its class names, if the checkpoint has them.

    Raises:
        ValueError: If the checkpoint holds no such classifier.
    """
    content = load_tensors(path)
    meta = content.get('meta', {})
    if 'config' in meta:
        config = meta['config']
    elif 'cfg' in meta:
        config = read_config(meta['cfg'])
    else:
        raise ValueError(
            f'{path} does not say how its model is built: it is neither a '
            'checkpoint of a run nor of tools/convert_clip.py'
        )
    prefix = 'teacher.' if teacher else ''
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in content['state_dict'].items()
        if name.startswith(tuple(f'{prefix}{part}.' for part in _PARTS))
    }
    if not state:
        raise ValueError(
            f'{path} holds no {"teacher" if teacher else "model"}'
        )
    count = config['model']['head']['num_classes']
    start = config['model'].get('start') or {}
    named = (meta.get('dataset_meta') or {}).get('classes')
    for classes in (named, start.get('classes')):
        if isinstance(classes, (list, tuple)) and len(classes) == count:
            return config, state, list(classes)
    return config, state, None


def trained_classifier(
    checkpoint: str | Path, teacher: bool = False
) -> ImageClassifier:
    """Build student or teacher of a checkpoint as a plain classifier.

    Args:
        checkpoint: See :func:`read_trained`.
        teacher: Whether to take the teacher.

    Returns:
        In eval mode.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it holds no such classifier.
    """
    config, state, _ = read_trained(checkpoint, teacher)
    model, state = plain_classifier(config['model'], state)
    preprocessor = dict(config['model']['data_preprocessor'])
    preprocessor['type'] = 'ClsDataPreprocessor'
    built = ImageClassifier(**model, data_preprocessor=preprocessor)
    built.load_state_dict(state)
    return built.eval()


def divide_logits(
    state: dict[str, torch.Tensor], head: str, temperature: float
) -> None:
    """Make a plain classifier's logits smaller by a temperature, in place.

    Args:
        state: Its parameters.
        head: Type of its head, one of :data:`_LAYERS`.
        temperature: Positive.

    Raises:
        ValueError: If the head is of another type.
    """
    if head not in _LAYERS:
        raise ValueError(
            f'a temperature cannot be made part of a {head}: use '
            f'{", ".join(_LAYERS)}'
        )
    for layer in _LAYERS[head].values():
        for kind in ('weight', 'bias'):
            state[f'head.{layer}.{kind}'] /= temperature


def publish(
    checkpoint: str | Path,
    out: str | Path,
    teacher: bool = False,
    own_loader: bool = False,
    temperature: float = 1.0,
) -> tuple[Path, Path]:
    """Write a plain classifier and the config that it loads into, strictly.

    Args:
        checkpoint: See :func:`read_trained`.
        out: Where to, such as ``pets.pth``; the first 8 digits of the file's
            SHA-256 are added to the name.
        teacher: Whether to take the teacher.
        own_loader: Whether the config loads images by :class:`LoadImage` of
            this package, for images that MMPretrain's loader sees otherwise.
        temperature: By which the logits are divided, so that confidences are
            calibrated ones.

    Returns:
        Paths of the checkpoint, which holds tensors and class names, and of
        the config beside it.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it holds no such classifier.
    """
    config, state, classes = read_trained(checkpoint, teacher)
    model, state = plain_classifier(config['model'], state)
    if temperature != 1:
        state = {name: tensor.clone() for name, tensor in state.items()}
        divide_logits(state, model['head']['type'], temperature)
    preprocessor = {
        key: value
        for key, value in config['model']['data_preprocessor'].items()
        if key in ('mean', 'std', 'to_rgb')
    }
    num_classes = model['head']['num_classes']
    plain = dict(
        default_scope='mmpretrain',
        model=dict(
            type='ImageClassifier',
            **model,
            data_preprocessor=dict(
                type='ClsDataPreprocessor',
                num_classes=num_classes,
                **preprocessor,
            ),
        ),
    )
    pipeline = _test_pipeline(config)
    if pipeline and own_loader:
        pipeline = [dict(type='LoadImage'), *pipeline[1:]]
    if pipeline:
        plain['test_dataloader'] = dict(
            dataset=dict(type='CustomDataset', pipeline=pipeline)
        )
    check_types(plain, checkpoint)
    if own_loader or _needs_must_mm(plain['model']):
        plain['custom_imports'] = dict(
            imports=['must_mm'], allow_failed_imports=False
        )
    _check_strictly(plain, state)

    content = dict(state_dict=state)
    if classes is not None:
        content['meta'] = dict(dataset_meta=dict(classes=classes))
    buffer = io.BytesIO()  # written to a file, its name would be part of it
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()[:8]
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    weights = out.with_name(f'{out.stem}-{digest}.pth')
    write_whole(weights, buffer.getbuffer())
    described = weights.with_suffix('.py')
    described.write_text(Config(plain).pretty_text, encoding='utf-8')
    return weights, described


def _test_pipeline(config: dict) -> list:
    """The test pipeline, images loaded as MMPretrain does."""
    loader = config.get('test_dataloader') or config.get('val_dataloader')
    return [
        # what MMPretrain has without this package
        dict(type='LoadImageFromFile') if step['type'] == 'LoadImage' else step
        for step in pipeline_of((loader or {}).get('dataset'))
    ]


def _image_size(config: dict) -> tuple[int, int]:
    """Height and width of the test images."""
    for step in reversed(_test_pipeline(config)):
        size = step.get('crop_size', step.get('scale'))
        if size is not None:
            return size if isinstance(size, (tuple, list)) else (size, size)
    raise ValueError(
        'test_dataloader.dataset.pipeline does not say how large the images '
        'are: it has neither CenterCrop nor Resize'
    )


def _needs_must_mm(model: dict) -> bool:
    classes = (
        MODELS.get(model[part]['type']) for part in _PARTS if part in model
    )
    return any(c.__module__.split('.')[0] == 'must_mm' for c in classes)


def _check_strictly(config: dict, state: dict[str, torch.Tensor]) -> None:
    """Load into a fresh model; every parameter has to be there.

    Raises:
        ValueError: If they do not match.
    """
    _fill(get_model(Config(copy.deepcopy(config))), state)


def _fill(model: ImageClassifier, state: dict[str, torch.Tensor]) -> None:
    """Load parameters and buffers, of which none may lack or be too many.

    Names are compared here: Swin V2 drops tables that it computes itself from
    what it loads, so that PyTorch would miss them.
    """
    strange = model.state_dict().keys() ^ state.keys()
    try:
        if strange:
            raise RuntimeError(f'{sorted(strange)} on one side alone')
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f'the weights do not fill a plain classifier: {error}'
        ) from error


def load_published(weights: str | Path, config: str | Path) -> ImageClassifier:
    """Load what :func:`publish` wrote, strictly, in eval mode."""
    model, content = get_model(str(config)), load_tensors(weights)
    _fill(model, content['state_dict'])
    model._dataset_meta = content['meta']['dataset_meta']
    return model


def export_onnx(model: ImageClassifier, path: str | Path) -> float:
    """Write a classifier as ONNX: normalised images in, logits out.

    Args:
        model: A classifier with a config, as :func:`load_published` returns.
        path: The ``.onnx`` file.

    Returns:
        Largest difference to the model's logits on random images over the
        largest logit, as computed by onnxruntime.

    Raises:
        ImportError: If the packages of ``must_mm[onnx]`` are missing.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch.onnx reads the model with it
    except ImportError as error:
        raise ImportError(
            f'{error}: install the packages of must_mm[onnx]'
        ) from error
    images = torch.randn(2, 3, *_image_size(model._config))
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    torch.onnx.export(
        model.eval(),
        (images,),
        str(path),
        input_names=['images'],
        output_names=['logits'],
        dynamic_shapes={'inputs': {0: torch.export.Dim('batch')}},
        # one file, unless it is larger than protobuf allows
        external_data=size > 1.9e9,
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(
        str(path), providers=['CPUExecutionProvider']
    )
    (found,) = session.run(None, {'images': images.numpy()})
    with torch.no_grad():
        expected = model(images)
    error = (torch.from_numpy(found) - expected).abs().max()
    return (error / expected.abs().max()).item()
