"""A visualizer that costs nothing until something is drawn."""

from types import SimpleNamespace

import numpy as np
from mmpretrain.registry import VISUALIZERS
from mmpretrain.visualization import UniversalVisualizer


@VISUALIZERS.register_module()
class LateVisualizer(UniversalVisualizer):
    """MMPretrain's visualizer, whose figure is made for the first image.

    Training writes scalars alone, and importing matplotlib takes more than
    half a second.
    """

    def _initialize_fig(self, fig_cfg: dict) -> tuple:
        return None, SimpleNamespace(get_dpi=lambda: None), None

    def set_image(self, image: np.ndarray) -> None:
        """Set the image to draw on, uint8, (H, W, 3), RGB."""
        if self.ax_save is None:
            self.fig_save_canvas, self.fig_save, self.ax_save = (
                super()._initialize_fig(self.fig_save_cfg)
            )
            self.dpi = self.fig_save.get_dpi()
        super().set_image(image)
