"""Block masks on the strong view."""

from mmpretrain.datasets import SimMIMMaskGenerator
from mmpretrain.registry import TRANSFORMS

from ..utils.validation import check_integer, check_number


@TRANSFORMS.register_module()
class MUSTMaskGenerator(SimMIMMaskGenerator):
    """SimMIM's block mask with errors that name what does not divide.

    ``ceil(mask_ratio * cells)`` cells of the ``input_size /
    mask_patch_size`` grid are drawn without replacement. Adds ``mask``, an
    integer array on the grid of the model's patches, 1 where masked.

    Args:
        input_size: Side of the square view, in pixels.
        mask_patch_size: Side of a mask block, in pixels.
        model_patch_size: Side of a patch of the backbone, in pixels.
        mask_ratio: Share of blocks to mask, in (0, 1).

    Raises:
        ValueError: If the sizes do not divide or the ratio is out of range.
    """

    def __init__(
        self,
        input_size: int,
        mask_patch_size: int,
        model_patch_size: int,
        mask_ratio: float,
    ) -> None:
        for name, size in (
            ('input_size', input_size),
            ('mask_patch_size', mask_patch_size),
            ('model_patch_size', model_patch_size),
        ):
            check_integer(f'MUSTMaskGenerator.{name}', size)
        if input_size % mask_patch_size:
            raise ValueError(
                f'MUSTMaskGenerator.input_size ({input_size}) must be a '
                f'multiple of mask_patch_size ({mask_patch_size})'
            )
        if mask_patch_size % model_patch_size:
            raise ValueError(
                f'MUSTMaskGenerator.mask_patch_size ({mask_patch_size}) must '
                f'be a multiple of model_patch_size ({model_patch_size})'
            )
        check_number('MUSTMaskGenerator.mask_ratio', mask_ratio, '(0, 1)')
        super().__init__(
            input_size, mask_patch_size, model_patch_size, mask_ratio
        )
