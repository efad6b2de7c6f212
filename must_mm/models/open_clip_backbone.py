"""open_clip's vision towers that are no plain vision transformers."""

from collections.abc import Mapping

import torch
import torch.nn as nn
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS

from ..utils.lazy import lazy_import

# a second of processor time, for towers that most runs do not have
open_clip, timm = lazy_import('open_clip'), lazy_import('timm')


class PatchGrid(nn.Module):
    """Where a backbone's patch embeddings pass, as MMPretrain returns them.

    It computes nothing. A forward hook here sees and may replace the
    embeddings, as on the ``patch_embed`` of MMPretrain's own backbones.

    Args:
        projection: The convolution that embeds the patches.
    """

    def __init__(self, projection: nn.Conv2d) -> None:
        super().__init__()
        # in a tuple: its parameters belong to the tower
        self._projection = (projection,)

    @property
    def projection(self) -> nn.Conv2d:
        """The convolution that embeds the patches."""
        return self._projection[0]

    def forward(
        self, patches: torch.Tensor, grid: tuple[int, int]
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return ``patches`` (B, h * w, D) and their ``grid`` (h, w)."""
        return patches, grid


@MODELS.register_module()
class OpenCLIPBackbone(BaseBackbone):
    """Any vision tower of open_clip, run by open_clip's own modules.

    SigLIP, EVA-02, ConvNeXt, MobileCLIP and others through timm, OpenAI's
    ResNets with attention pooling, and transformers with options that
    MMPretrain's lacks. Returns ``(pooled, feature_map)``, both in the joint
    image-text space and not normalised:

    - ``pooled``, (B, E), the tower's image feature;
    - ``feature_map``, (B, E, h, w), last as in every backbone: at each place
      what the tower's pooling and projection make of that place alone. It
      stands to ``pooled`` as MUST's local feature, ``proj`` of one patch,
      to the global one, ``proj`` of the class token (Sec. 3.3).

    Where the tower embeds every patch by itself as a token, ``patch_embed``
    is a :class:`PatchGrid` for token masking; it is ``None`` elsewhere.

    Args:
        model: Name of an open_clip architecture, or its config: a dict with
            ``embed_dim``, ``vision_cfg`` and ``quick_gelu``.
        img_size: Side of the images in pixels; the architecture's by
            default. Weights saved at another size do not load: convert them
            at this size.
        init_cfg: MMEngine's initialisation config.

    Attributes:
        out_channels: Width ``E`` of the joint space.

    Raises:
        ValueError: If open_clip does not know the architecture.
    """

    def __init__(
        self,
        model: str | Mapping,
        img_size: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(model, str):
            name, model = model, open_clip.get_model_config(model)
            if model is None:
                raise ValueError(
                    f'model.backbone.model: open_clip knows no {name!r}, '
                    'see open_clip.list_models()'
                )
        # timm would download weights that are replaced anyway
        vision = dict(model['vision_cfg'], timm_model_pretrained=False)
        if img_size is not None:
            vision['image_size'] = img_size
        self.out_channels = model['embed_dim']
        self.visual = open_clip.model._build_vision_tower(
            self.out_channels, vision, bool(model.get('quick_gelu'))
        )
        if _of_timm(self.visual):
            _set_image_size(self.visual, vision['image_size'])
        self.patch_embed = None
        embedding = self._patch_embedding()
        if embedding is not None:
            self.patch_embed = PatchGrid(getattr(embedding, 'proj', embedding))
            # a bound method, so that a copy of the backbone has a hook of
            # its own
            embedding.register_forward_hook(self._pass_patches)
        self._depths, self._num_depths = self._layer_depths()

    @property
    def embed_dims(self) -> int:
        """Width of the tower's tokens, channels of its last stage."""
        if _of_timm(self.visual):
            return self.visual.trunk.num_features
        if _is_resnet(self.visual):
            return self.visual.attnpool.c_proj.in_features
        return self.visual.conv1.out_channels

    def init_weights(self) -> None:
        """Keep open_clip's initialisation, which building has done."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image feature (B, E) and feature map (B, E, h, w).

        Args:
            x: Normalised images, (B, 3, H, W).
        """
        tower = self.visual
        if _of_timm(tower):
            last = tower.trunk.forward_features(x)
        elif _is_resnet(tower):
            last = tower.stem(x)
            for i in range(1, 5):
                last = getattr(tower, f'layer{i}')(last)
        else:
            last = tower.transformer(tower._embeds(x))
        return self._pool(last), self._pool_places(last)

    def _pool(self, last: torch.Tensor) -> torch.Tensor:
        """Pool and project what the last stage returns; (B, E)."""
        tower = self.visual
        if _of_timm(tower):
            return tower.head(tower.trunk.forward_head(last))
        if _is_resnet(tower):
            return tower.attnpool(last)
        return tower._pool(last)[0] @ tower.proj

    def _pool_places(self, last: torch.Tensor) -> torch.Tensor:
        """Pool and project every place as an image of its own."""
        trunk = getattr(self.visual, 'trunk', None)
        if last.dim() == 3:  # tokens
            extra = getattr(trunk, 'num_prefix_tokens', 1)
            places = last[:, extra:]
            # int: a tensor while operations are counted
            grid = (round(int(places.shape[1]) ** 0.5),) * 2
            # the same token also where the pooling looks for a class token
            alone = places.flatten(0, 1)[:, None].expand(-1, 1 + extra, -1)
        elif getattr(trunk, 'output_fmt', 'NCHW') == 'NHWC':
            places, grid = last.flatten(1, 2), last.shape[1:3]
            alone = places.flatten(0, 1)[:, None, None]
        else:
            places, grid = last.flatten(2).mT, last.shape[2:]
            alone = places.flatten(0, 1)[..., None, None]
        if _is_resnet(self.visual):
            # attention to one place alone is its value
            pool = self.visual.attnpool
            pooled = pool.c_proj(pool.v_proj(places.flatten(0, 1)))
        else:
            pooled = self._pool(alone)
        pooled = pooled.unflatten(0, places.shape[:2])
        return pooled.mT.unflatten(2, tuple(grid))

    def _patch_embedding(self) -> nn.Module | None:
        """The module whose output are patch tokens, if there is one."""
        if _is_resnet(self.visual):
            return None
        if not _of_timm(self.visual):
            return self.visual.conv1
        trunk = self.visual.trunk
        embedding = getattr(trunk, 'patch_embed', None)
        # In a stem of several convolutions, patches see their neighbours;
        # in a tower of stages, tokens are merged later on.
        plain = isinstance(embedding, timm.layers.PatchEmbed) and hasattr(
            trunk, 'blocks'
        )
        return embedding if plain else None

    def _pass_patches(self, _module, _inputs, output: torch.Tensor):
        """Lead patch embeddings through ``patch_embed`` and back."""
        if output.dim() == 3:  # (B, N, D) of a square grid
            side = round(int(output.shape[1]) ** 0.5)
            return self.patch_embed(output, (side, side))[0]
        if _of_timm(self.visual):  # (B, h, w, D)
            grid = tuple(output.shape[1:3])
            patches, _ = self.patch_embed(output.flatten(1, 2), grid)
            return patches.unflatten(1, grid)
        grid = tuple(output.shape[2:])  # (B, D, h, w)
        patches = output.flatten(2).transpose(1, 2)
        patches, _ = self.patch_embed(patches, grid)
        return patches.transpose(1, 2).unflatten(2, grid)

    def _layer_depths(self) -> tuple[dict[str, int], int]:
        """Depth of every parameter of the tower, and their number."""
        if _of_timm(self.visual):
            trunk = self.visual.trunk
            groups = timm.models.group_parameters(trunk, trunk.group_matcher())
            # what timm puts after all layers (norm, head) comes last
            depths = {
                f'trunk.{name}': depth
                for depth, names in groups.items()
                for name in names
            }
            return depths, max(groups) + 1
        if _is_resnet(self.visual):
            stages = [['conv', 'bn'], *([f'layer{i}.'] for i in range(1, 5))]
        else:
            blocks = len(self.visual.transformer.resblocks)
            stem = ['conv1', 'class_', 'positional_', 'ln_pre']
            stages = [
                stem,
                *([f'transformer.resblocks.{i}.'] for i in range(blocks)),
            ]
        depths = {
            name: depth
            for name, _ in self.visual.named_parameters()
            for depth, starts in enumerate(stages)
            if name.startswith(tuple(starts))
        }
        return depths, len(stages) + 1

    def get_layer_depth(
        self, param_name: str, prefix: str = ''
    ) -> tuple[int, int]:
        """Depth for layer decay, as MMPretrain's backbones count it.

        Args:
            param_name: Name of a parameter.
            prefix: What names of the backbone's parameters start with.

        Returns:
            The depth, 0 for the stem, and the number of depths; whatever is
            not in a stage of the tower has the last one.
        """
        name = param_name.removeprefix(f'{prefix}visual.')
        last = self._num_depths - 1
        return self._depths.get(name, last), self._num_depths


def _of_timm(tower: nn.Module) -> bool:
    return isinstance(tower, open_clip.timm_model.TimmModel)


def _is_resnet(tower: nn.Module) -> bool:
    return isinstance(tower, open_clip.modified_resnet.ModifiedResNet)


def _set_image_size(tower: nn.Module, size: int) -> None:
    """Change a timm tower's position embeddings if it was built larger."""
    own = getattr(getattr(tower.trunk, 'patch_embed', None), 'img_size', None)
    if own is not None and own != (size, size):
        tower.set_input_size(size)
