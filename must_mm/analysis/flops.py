"""Parameters and operations of the classifier that MUST adapts."""

import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmpretrain.registry import MODELS

from ..runs import arguments


def complexity(cfg: Config, size: int) -> dict[str, int]:
    """Count parameters and operations for one image.

    Of the plain classifier, without teacher, mask token and decoder, as it is
    deployed.

    Args:
        cfg: Config of a MUST model.
        size: Side of the image in pixels.

    Returns:
        ``params`` and ``flops``: multiply-adds of the layers, as MMEngine
        counts them; the products within attention are not among them.
    """
    model = MODELS.build(arguments.without_start(cfg).model).teacher
    with torch.no_grad():
        found = get_model_complexity_info(
            model,
            inputs=(torch.zeros(1, 3, size, size),),
            show_table=False,
            show_arch=False,
        )
    params = sum(param.numel() for param in model.parameters())
    return dict(params=params, flops=int(found['flops']))


def main(argv: list[str] | None = None) -> None:
    """Command line of ``tools/get_flops.py``."""
    parser = arguments.parser('Parameters and operations of the classifier.')
    parser.add_argument(
        '--size',
        type=arguments.positive,
        help="side of the image; the config's by default",
    )
    args = parser.parse_args(argv)
    cfg = arguments.read_config(args)
    size = arguments.image_size(cfg, args.size)
    found = complexity(cfg, size)
    print(
        f'{size} x {size}: {found["params"] / 1e6:.2f} M parameters, '
        f'{found["flops"] / 1e9:.2f} G multiply-adds (without the products '
        'within attention)'
    )
