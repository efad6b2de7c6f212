"""Grad-CAM (arXiv 1610.02391) for vision transformers with a class token."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import Compose, default_collate
from mmpretrain.models import ImageClassifier, VisionTransformer
from PIL import Image

from ..runs import arguments
from ..utils.pipelines import pipeline_of


def check_backbone(backbone: torch.nn.Module) -> None:
    """Raise unless the backbone has attention to look at.

    Raises:
        ValueError: If it is not a vision transformer with a class token.
    """
    if not isinstance(backbone, VisionTransformer):
        kind = f'a {type(backbone).__name__}'
    elif backbone.cls_token is None:
        kind = 'one without'
    else:
        return
    raise ValueError(
        'vis_cam.py needs a vision transformer with a class token, '
        f'model.backbone is {kind}: give the config of such a model'
    )


def grad_cam(
    model: ImageClassifier, image: torch.Tensor, label: int | None = None
) -> tuple[np.ndarray, int]:
    """Show which patches speak for a class.

    Taken at the input of the last block's attention: behind it, patches no
    longer reach the class token.

    Args:
        model: A classifier with a transformer backbone, in eval mode.
        image: Normalised image, (1, 3, H, W).
        label: The class; the predicted one by default.

    Returns:
        Values in [0, 1], float32, (H, W), and the class.

    Raises:
        ValueError: If the model has no such class.
    """
    kept = []
    norm = model.backbone.layers[-1].ln1

    def keep(_module, _inputs, output):
        output.retain_grad()
        kept.append(output)

    handle = norm.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            # frozen networks build no graph by themselves
            logits = model(image.clone().requires_grad_())
            label = int(logits.argmax()) if label is None else label
            if not 0 <= label < logits.shape[1]:
                raise ValueError(
                    f'--label must lie in 0 ... {logits.shape[1] - 1}, the '
                    f'classes of the model, got {label}'
                )
            logits[0, label].backward()
    finally:
        handle.remove()
    extra = model.backbone.num_extra_tokens
    tokens, grads = kept[0][0, extra:], kept[0].grad[0, extra:]
    heat = (tokens * grads.mean(0)).sum(1).relu()
    grid = model.backbone.patch_embed.init_out_size
    heat = F.interpolate(
        heat.reshape(1, 1, *grid).detach(), image.shape[-2:], mode='bilinear'
    )[0, 0]
    return (heat / heat.max().clamp(min=1e-12)).cpu().numpy(), label


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Colour an image by the heat, from blue (0) to red (1).

    Args:
        image: RGB, uint8, (H, W, 3).
        heat: Values in [0, 1], (H, W).

    Returns:
        RGB, uint8, (H, W, 3).
    """
    levels = np.rint(255 * heat).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_JET)[..., ::-1]
    return (0.5 * image + 0.5 * colours).astype(np.uint8)


def main(argv: list[str] | None = None) -> None:
    """Command line of ``tools/vis_cam.py``."""
    parser = arguments.parser('Draw which patches speak for a class.')
    arguments.add_network(parser)
    parser.add_argument('image', help='image file')
    parser.add_argument('out', help='picture to write')
    parser.add_argument(
        '--label', type=int, help='class; the predicted one by default'
    )
    args = parser.parse_args(argv)
    cfg = arguments.read_config(args)
    model = arguments.read_model(cfg, args)
    check_backbone(model.backbone)
    pipeline = Compose(pipeline_of(cfg.test_dataloader.dataset))
    sample = pipeline(dict(img_path=args.image))
    batch = model.data_preprocessor(default_collate([sample]), False)
    network = model.teacher if args.who == 'teacher' else model
    heat, label = grad_cam(network, batch['inputs'], args.label)
    shown = sample['inputs'].numpy().transpose(1, 2, 0)[..., ::-1]
    picture = np.concatenate([shown, overlay(shown, heat)], axis=1)
    Image.fromarray(picture).save(args.out)
    print(f'{args.out}: class {label}')
