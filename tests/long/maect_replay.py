"""Replays steps of the NNCLR head recorded from the published MAE-CT."""

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModule
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, MODELS
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from must_mm.checkpoints.plain import save_tensors
from must_mm.models.maect import MAECT
from must_mm.utils.distributed import unwrap

QUEUE = {
    'queue': 'feats',
    'queue_y': 'labels',
    'queue_id': 'sample_ids',
    'queue_ptr': 'pointer',
}


@dataclass
class Row:
    """One line of the comparison: a quantity and its relative error."""

    name: str
    error: float


def relative_error(ours, reference) -> float:
    """Largest absolute difference over the largest reference value."""
    ours, reference = np.asarray(ours, float), np.asarray(reference, float)
    return float(
        np.abs(ours.reshape(reference.shape) - reference).max()
        / max(np.abs(reference).max(), 1e-30)
    )


@DATASETS.register_module(force=True)
class RecordedFeatures(Dataset):
    """The recorded features of two views, step after step.

    Args:
        path: The recording.
    """

    metainfo: dict = {}

    def __init__(self, path: str) -> None:
        with np.load(path) as data:
            config = json.loads(str(data['config']))
            steps = range(config['steps'])
            self.views, (self.ids, self.labels) = (
                [
                    torch.from_numpy(
                        np.concatenate([data[f'step{t}/{key}'] for t in steps])
                    )
                    for key in keys
                ]
                for keys in (('view0', 'view1'), ('sample_id', 'label'))
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict:
        sample = DataSample().set_gt_label(self.labels[index])
        sample.set_field(
            int(self.ids[index]), 'sample_idx', field_type='metainfo'
        )
        return dict(
            inputs=[view[index] for view in self.views], data_samples=sample
        )


@MODELS.register_module(force=True)
class RecordedEncoder(BaseModule):
    """Hands features through as if it had computed them.

    Args:
        embed_dims: Their width.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.embed_dims = embed_dims

    def forward(self, feats: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the features (B, D) as a leaf that collects gradients."""
        self.feats = feats.detach().requires_grad_()
        return (self.feats,)

    def get_layer_depth(self, name: str, prefix: str) -> tuple[int, int]:
        """Everything is as deep as the head."""
        return 0, 1


def our_name(recorded: str) -> str:
    """Translate a parameter's name to that of :class:`NNCLRHead`."""
    if recorded in QUEUE:
        return f'head.queue.{QUEUE[recorded]}'
    part, index, rest = recorded.split('.')
    layer, place = divmod(int(index), 3)
    return f'head.{part}.{("fc", "bn")[place]}{layer}.{rest}'


def maect_replay_config(path: str | Path, work_dir: str) -> Config:
    """Build the config of a recording, with its first weights to load.

    Raises:
        ValueError: If neighbours were drawn at random.
    """
    with np.load(path) as data:
        rec = json.loads(str(data['config']))
        weights = {
            our_name(key[len('init/') :]): torch.from_numpy(data[key])
            for key in data.files
            if key.startswith('init/')
        }
    if rec['topk'] > 1:
        raise ValueError(
            f'{path} was recorded with random draws from the '
            f'{rec["topk"]} nearest, which cannot be replayed'
        )
    weights['head.queue.seed'] = torch.tensor(0)
    load_from = str(Path(work_dir) / 'first.pth')
    save_tensors(dict(state_dict=weights), load_from)
    cfg = Config.fromfile(Path(__file__).with_name('maect_replay_config.py'))
    cfg.merge_from_dict(
        {
            'model.backbone.embed_dims': rec['embed_dims'],
            'model.head.projector': dict(
                in_channels=rec['embed_dims'],
                hid_channels=rec['proj_hidden'],
                out_channels=rec['out_dim'],
            ),
            'model.head.predictor': dict(
                in_channels=rec['out_dim'],
                hid_channels=rec['pred_hidden'],
                out_channels=rec['out_dim'],
            ),
            'model.head.queue': dict(
                size=rec['queue_size'], dim=rec['out_dim'], topk=1
            ),
            'model.head.temperature': rec['temperature'],
            'model.head.target_decay': rec['target_decay'],
            'train_dataloader.batch_size': rec['batch'],
            'train_dataloader.dataset.path': str(path),
            'load_from': load_from,
            'work_dir': work_dir,
        }
    )
    return cfg


class MAECTRecorder(Hook):
    """Takes down what the published code recorded, step by step."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.seen: dict[str, list[torch.Tensor]] = {}

    def before_train(self, runner) -> None:
        """Watch both views pass through the head."""
        head = unwrap(runner.model, MAECT).head

        def keep(name: str, module: torch.nn.Module) -> None:
            module.register_forward_hook(
                lambda _module, _inputs, output: self.seen.setdefault(
                    name, []
                ).append(output[0].detach().clone())
            )

        keep('projected', head.target_projector or head.projector)
        keep('predicted', head.predictor)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Take down this step."""
        model = unwrap(runner.model, MAECT)
        step = dict(loss=outputs['loss'].detach())
        views = dict(self.seen, grad_view=model.backbone.feats.grad.chunk(2))
        for name, (first, second) in views.items():
            step |= {f'{name}0': first, f'{name}1': second}
        for recorded, name in QUEUE.items():
            if recorded != 'queue_y':
                value = getattr(model.head.queue, name)
                step[f'{recorded}_after'] = value.clone()
        self.steps.append(step)
        self.seen.clear()


def compare_maect(runner: Runner, recorder: MAECTRecorder, data) -> list[Row]:
    """Compare a run with the recording, each quantity over all steps."""
    rows = [
        Row(
            f'{name} (worst step)',
            max(
                relative_error(step[name], data[f'step{t}/{name}'])
                for t, step in enumerate(recorder.steps)
            ),
        )
        for name in recorder.steps[0]
    ]
    final = unwrap(runner.model, MAECT).state_dict()
    parts: dict[str, list[float]] = {}
    for key in data.files:
        if key.startswith('final/'):
            name = key[len('final/') :]
            parts.setdefault(name.split('.')[0], []).append(
                _weight_error(final[our_name(name)], data[key])
            )
    return rows + [
        Row(f'final {part} (worst)', max(errors))
        for part, errors in parts.items()
    ]


def _weight_error(ours: torch.Tensor, reference: np.ndarray) -> float:
    """As :func:`relative_error`, or absolute where the reference is tiny.

    The bias of the last batch norm has no gradient in theory (the next batch
    norm removes it): what it holds is rounding noise around zero.
    """
    scale = np.abs(reference).max()
    error = relative_error(ours, reference)
    return error * scale if scale < 1e-6 else error


def replay_maect(path: str | Path) -> list[Row]:
    """Replay a recording of MAE-CT.

    Args:
        path: The recording, a ``maect_*.npz``.

    Returns:
        The compared quantities and their relative errors.
    """
    with tempfile.TemporaryDirectory() as work_dir:
        cfg = maect_replay_config(path, work_dir)
        cfg.log_level = logging.getLevelName(logging.WARNING)
        runner = Runner.from_cfg(cfg)
        recorder = MAECTRecorder()
        runner.register_hook(recorder)
        runner.train()
        with np.load(path) as data:
            return compare_maect(runner, recorder, data)
