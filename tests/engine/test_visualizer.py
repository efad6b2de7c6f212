"""The late visualizer writes scalars without figures, and draws as any."""

import numpy as np
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer

from must_mm.engine.visualizer import LateVisualizer


def test_draws_as_mmpretrain(tmp_path):
    image = np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3)
    sample = DataSample().set_pred_score([0.2, 0.8])
    drawn = []
    for kind in (LateVisualizer, UniversalVisualizer):
        visualizer = kind(
            vis_backends=[dict(type='LocalVisBackend')],
            save_dir=str(tmp_path / kind.__name__),
        )
        visualizer.add_scalar('loss', 1.0)
        assert (visualizer.ax_save is None) == (kind is LateVisualizer)
        drawn.append(
            visualizer.visualize_cls(image, sample, classes=['a', 'b'])
        )
    assert (drawn[0] == drawn[1]).all() and drawn[0].std() > 0
