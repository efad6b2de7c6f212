"""open_clip's architectures as MMPretrain configs.

A plain vision transformer becomes MMPretrain's own
:class:`VisionTransformer`; every other tower is open_clip's module inside
:class:`OpenCLIPBackbone`.
"""

from collections.abc import Mapping

# What describes a plain CLIP vision transformer completely.
_SIZES = {
    'image_size',
    'layers',
    'width',
    'patch_size',
    'head_width',
    'mlp_ratio',
}


def is_plain_vit(vision: Mapping) -> bool:
    """Whether ``vision`` is CLIP's first vision transformer at some size.

    That is: class token, pre-norm, one projection; no layer scale, no
    attention pooling, no module of timm.

    Args:
        vision: ``vision_cfg`` of an open_clip model config.
    """
    options = {key for key, value in vision.items() if value}
    return options <= _SIZES and isinstance(vision['layers'], int)


def tower_config(architecture: Mapping, image_size: int | None = None) -> dict:
    """Describe a vision tower to MMPretrain.

    Args:
        architecture: An open_clip model config: ``embed_dim``,
            ``vision_cfg`` and, if so, ``quick_gelu``.
        image_size: Side of the images in pixels, if not the architecture's.

    Returns:
        Configs of ``backbone`` and ``neck``.
    """
    vision = dict(architecture['vision_cfg'])
    embed = architecture['embed_dim']
    if image_size is not None:
        vision['image_size'] = image_size
    quick_gelu = bool(architecture.get('quick_gelu'))
    if not is_plain_vit(vision):
        vision['timm_model_pretrained'] = False
        return dict(
            backbone=dict(
                type='OpenCLIPBackbone',
                model=dict(
                    embed_dim=embed, vision_cfg=vision, quick_gelu=quick_gelu
                ),
            ),
            neck=dict(type='UnitFeature'),
        )
    width = vision['width']
    return dict(
        backbone=dict(
            type='VisionTransformer',
            arch=dict(
                embed_dims=width,
                num_layers=vision['layers'],
                num_heads=width // vision.get('head_width', 64),
                feedforward_channels=int(width * vision.get('mlp_ratio', 4)),
            ),
            img_size=vision['image_size'],
            patch_size=vision['patch_size'],
            pre_norm=True,
            final_norm=False,
            out_type='raw',
            norm_cfg=dict(type='LN', eps=1e-5),
            layer_cfgs=dict(
                act_cfg=dict(
                    type='mmpretrain.QuickGELU' if quick_gelu else 'GELU'
                )
            ),
        ),
        neck=dict(
            type='CLIPProjection', in_channels=width, out_channels=embed
        ),
    )
