"""Replays training steps recorded from the published system.

A recording (``.npz``) holds a model's first weights, the views and masks of
some steps, and what the published code computed from them. The same steps
run here through config, runner, optimizer constructor, scheduler and hooks;
:func:`replay` returns how far each quantity is off.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from must_mm.checkpoints.plain import save_tensors
from must_mm.models.local_features import to_patches
from must_mm.models.must import MUST, STUDENT, TEACHER
from must_mm.runs.arguments import OverrideAction
from must_mm.utils.distributed import free_port, unwrap
from must_mm.weights.convert import from_clip, name_table
from tests.long.maect_replay import Row, relative_error, replay_maect
from tests.ranks import on_ranks

TERMS = ('loss_st', 'loss_fair', 'loss_mim', 'loss_align')
HEAD_WIDTH = 64


@DATASETS.register_module(force=True)
class RecordedViews(Dataset):
    """The recorded views, in the order in which the ranks consumed them.

    Args:
        path: The recording.
    """

    metainfo: dict = {}

    def __init__(self, path: str) -> None:
        data = np.load(path)
        config = json.loads(str(data['config']))
        self.views = [
            torch.from_numpy(data[key]) for key in ('weak', 'strong')
        ]
        self.masks = torch.from_numpy(data['mask'])
        self.steps, self.batch = config['steps'], config['batch']
        self.world = self.masks.shape[1] // self.batch

    def __len__(self) -> int:
        return self.steps * self.world * self.batch

    def __getitem__(self, index) -> dict:
        # The sampler deals samples to ranks like cards; a recorded rank owns
        # consecutive rows.
        step, place = divmod(int(index), self.world * self.batch)
        place, rank = divmod(place, self.world)
        row = step + index.epoch * self.steps, rank * self.batch + place
        return dict(
            inputs=[view[row] for view in self.views],
            data_samples=DataSample().set_mask(self.masks[row]),
        )


def replay_config(
    path: str | Path, work_dir: str, options: dict | None = None
) -> Config:
    """Build the config of a recording, with its first weights to load.

    Args:
        path: The recording.
        work_dir: Folder for the weights and the run.
        options: Keys of the config to override.
    """
    data = np.load(path)
    rec = json.loads(str(data['config']))
    width, embed, patch = rec['width'], rec['embed'], rec['patch']
    batch = data['weak'].shape[1]
    first = {
        key[len('init/') :]: torch.from_numpy(data[key])
        for key in data.files
        if key.startswith('init/')
    }
    load_from = str(Path(work_dir) / 'first.pth')
    weights = from_clip(first, with_must=True)
    weights['head.logit_scale'] = torch.tensor(100.0)
    save_tensors(dict(state_dict=weights), load_from)
    cfg = Config.fromfile(Path(__file__).with_name('must_replay_config.py'))
    cfg.merge_from_dict(
        {
            'model.backbone.arch': dict(
                _delete_=True,
                embed_dims=width,
                num_layers=rec['layers'],
                num_heads=max(1, width // HEAD_WIDTH),
                feedforward_channels=4 * width,
            ),
            'model.backbone.img_size': rec['image'],
            'model.backbone.patch_size': patch,
            'model.neck': dict(in_channels=width, out_channels=embed),
            'model.head.num_classes': rec['classes'],
            'model.head.in_channels': embed,
            'model.head.threshold': rec['conf_threshold'],
            'model.head.fairness.loss_weight': rec['w_fair'],
            'model.decoder': dict(in_channels=width, encoder_stride=patch),
            'model.mim_head.patch_size': patch,
            'model.align_loss.loss_weight': rec['w_align'],
            'train_dataloader.batch_size': rec['batch'],
            'train_dataloader.dataset.path': str(path),
            'train_cfg.max_epochs': rec['epochs'],
            'optim_wrapper.optimizer.lr': rec['lr'] * batch / 256,
            'param_scheduler.T_max': rec['epochs'],
            'param_scheduler.eta_min_ratio': 1e-6 / rec['lr'],
            'load_from': load_from,
            'work_dir': work_dir,
        }
    )
    cfg.teacher.update(
        decay_start=rec['ema_start'],
        decay_end=rec['ema_end'],
        warmup_steps=rec['warm_it'],
    )
    cfg.custom_hooks = [cfg.teacher, *cfg.guards]
    cfg.merge_from_dict(options or {})
    return cfg


class Recorder(Hook):
    """Takes down what the published code recorded.

    Its priority puts it before the hooks that step scheduler and teacher, so
    that rates are those of the step that was taken.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.log: list[dict[str, float]] = []
        self.gradients: dict[str, torch.Tensor] = {}
        self.tensors: dict[str, torch.Tensor] = {}

    def before_train(self, runner) -> None:
        """Watch the outputs of the first step through hooks of torch."""
        model = unwrap(runner.model, MUST)

        def keep_output(name, module):

            def hook(_module, _inputs, output):
                self.tensors.setdefault(name, output.detach())

            module.register_forward_hook(hook)

        def keep_distances(_module, inputs, _output):
            local_feats, global_feats = (feats.detach() for feats in inputs)
            self.tensors.setdefault(
                'align0', (local_feats - global_feats).pow(2).sum(dim=-1)
            )

        keep_output('logits0', model.head)
        keep_output('teacher_logits0', model.teacher.head)
        keep_output('reconstruction0', model.decoder)
        model.align_loss.register_forward_hook(keep_distances)

        def keep_gradients(_optimizer, _args, _kwargs):
            if not self.gradients:
                self.gradients = {
                    name: param.grad.clone()
                    for name, param in model.named_parameters()
                    if param.grad is not None
                }

        runner.optim_wrapper.optimizer.register_step_pre_hook(keep_gradients)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Take down the losses and the rates of this step."""
        teacher_hook = next(
            hook for hook in runner.hooks if hasattr(hook, 'decay')
        )
        self.log.append(
            {
                **{name: float(value) for name, value in outputs.items()},
                'decay': teacher_hook.decay(),
                'lr': max(
                    group['lr'] for group in runner.optim_wrapper.param_groups
                ),
            }
        )


def fingerprint(tensor: torch.Tensor) -> np.ndarray:
    """Norm, sum, projection on cos(0, 1, 2, ...) and the first 29 values."""
    flat = tensor.detach().double().flatten().numpy()
    return np.concatenate(
        [
            [
                np.linalg.norm(flat),
                flat.sum(),
                flat @ np.cos(np.arange(flat.size)),
            ],
            flat[:29],
        ]
    )


def _worst_fingerprint(
    ours: dict[str, torch.Tensor], data, prefix: str, table: dict[str, str]
) -> float:
    """Largest error of the named tensors' fingerprints, over their norms."""
    errors = []
    for clip, name in table.items():
        # The key bias has no gradient in theory, so AdamW turns rounding
        # noise into steps of full size.
        if name not in ours or (
            prefix != 'grad0/' and clip.endswith('in_proj_bias')
        ):
            continue
        reference = data[prefix + clip]
        found = fingerprint(ours[name])[: len(reference)]
        errors.append(np.abs(found - reference).max() / reference[0])
    return float(max(errors))


def _reconstruction_error(found: torch.Tensor, data) -> float:
    """Compare a reconstruction, of all patches or of the masked ones."""
    reference = torch.from_numpy(data['reconstruction0'])
    if found.shape != reference.shape:  # a column of the masked patches
        side = found.shape[-1]
        masked = torch.from_numpy(data['mask'][0, : len(reference)]).bool()
        reference = to_patches(reference, side)[masked]
        reference = reference.movedim(0, 1).flatten(1, 2)[None]
    return relative_error(found, reference)


def _compare(runner: Runner, recorder: Recorder, data) -> list[Row]:
    """Compare this rank's run with the recording."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    ours_of = f'rank{rank}/' if rank else ''
    rec = json.loads(str(data['config']))
    weights = dict(
        loss_st=1,
        loss_fair=rec['w_fair'],
        loss_mim=1,
        loss_align=rec['w_align'],
    )
    log = data[ours_of + 'log']
    rows = []
    for column, name in enumerate(TERMS):
        rows.append(
            Row(
                name,
                relative_error(
                    [step[name] for step in recorder.log],
                    log[:, column] * weights[name],
                ),
            )
        )
    for column, name in (
        (4, 'loss'),
        (5, 'conf_ratio'),
        (6, 'decay'),
        (7, 'lr'),
    ):
        rows.append(
            Row(
                name,
                relative_error(
                    [step[name] for step in recorder.log], log[:, column]
                ),
            )
        )
    seen = recorder.tensors
    rows += [
        Row(
            'step 0: teacher probabilities',
            relative_error(
                seen['teacher_logits0'].softmax(1),
                data[ours_of + 'teacher_probs0'],
            ),
        ),
        Row(
            'step 0: student logits',
            relative_error(seen['logits0'], data[ours_of + 'logits0']),
        ),
    ]
    if rank:
        return rows
    table = name_table(rec['layers'], with_must=True)
    model = unwrap(runner.model, MUST).eval()
    images = torch.from_numpy(data['weak'][0])
    teacher = {
        name: value for name, value in model.teacher.state_dict().items()
    }
    rows += [
        Row(
            'step 0: reconstruction',
            _reconstruction_error(seen['reconstruction0'], data),
        ),
        Row(
            'step 0: alignment', relative_error(seen['align0'], data['align0'])
        ),
        Row(
            'step 0: gradients (worst)',
            _worst_fingerprint(recorder.gradients, data, 'grad0/', table),
        ),
        Row(
            'final student weights (worst)',
            _worst_fingerprint(model.state_dict(), data, 'final/', table),
        ),
        Row(
            'final teacher weights (worst)',
            _worst_fingerprint(teacher, data, 'final_ema/', table),
        ),
    ]
    for who, key in ((STUDENT, 'final_logits'), (TEACHER, 'final_ema_logits')):
        model.predict_with = who
        with torch.no_grad():
            rows.append(
                Row(
                    f'final {who} logits',
                    relative_error(model(images), data[key]),
                )
            )
    return rows


def _run_rank(
    rank: int,
    world: int,
    port: int,
    path: str,
    work_dir: str,
    options: dict | None,
    results,
) -> list[Row] | None:
    """Replay one rank's share; put its rows into ``results``."""
    if world > 1:
        os.environ['LOCAL_RANK'] = str(rank)
        dist.init_process_group(
            'gloo',
            init_method=f'tcp://127.0.0.1:{port}',
            rank=rank,
            world_size=world,
        )
    cfg = replay_config(path, f'{work_dir}/rank{rank}', options)
    cfg.log_level = logging.getLevelName(logging.WARNING)
    if world > 1:
        cfg.launcher = 'pytorch'
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel', device_ids=None
        )
    runner = Runner.from_cfg(cfg)
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    rows = _compare(runner, recorder, np.load(path))
    if results is None:
        return rows
    results[rank] = rows
    if world > 1:
        dist.destroy_process_group()


def replay(path: str | Path, options: dict | None = None) -> list[list[Row]]:
    """Replay a recording on as many gloo processes as it was recorded on.

    Args:
        path: The recording, a ``must_*.npz`` or ``maect_*.npz``.
        options: Keys of MUST's config to override.

    Returns:
        For each rank, the compared quantities and their relative errors.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no recording of MUST or MAE-CT.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no recording {path}')
    with np.load(path) as data:
        if 'config' in data and 'step0/view0' in data:
            return [replay_maect(path)]
        if 'config' not in data or 'weak' not in data:
            raise ValueError(
                f'{path} is no recording of MUST or MAE-CT: it has no '
                "'config' and 'weak' or 'step0/view0'"
            )
        batch = json.loads(str(data['config']))['batch']
        world = data['weak'].shape[1] // batch
    with tempfile.TemporaryDirectory() as work_dir:
        if world == 1:
            rows = _run_rank(0, 1, 0, str(path), work_dir, options, None)
            return [rows]
        port = free_port()
        with mp.Manager() as manager:
            results = manager.dict()
            given = world, port, str(path), work_dir, options, results
            on_ranks(_run_rank, *given, ranks=world)
            return [results[rank] for rank in range(world)]


def main(argv: list[str] | None = None) -> int:
    """Command line of ``python -m tests.long.replay``; 0 if all is equal."""
    parser = argparse.ArgumentParser(
        description='Compare this implementation with steps recorded from '
        'the published one.'
    )
    parser.add_argument('recording', help='a must_*.npz or maect_*.npz file')
    parser.add_argument(
        '--rtol', type=float, default=1e-4, help='largest relative error'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OverrideAction,
        default={},
        metavar='KEY=VALUE',
        help="override keys of MUST's config, such as a switch for speed",
    )
    args = parser.parse_args(argv)
    errors = []
    for rank, rows in enumerate(replay(args.recording, args.cfg_options)):
        for row in rows:
            verdict = 'ok' if row.error <= args.rtol else 'FAILED'
            print(f'rank {rank}  {row.name:32} {row.error:8.1e}  {verdict}')
            errors.append(row.error)
    # an undefined error is a failure, and max() would pass over it
    ok = all(error <= args.rtol for error in errors)
    worst = max(errors)
    print(
        f'{args.recording}: largest relative error {worst:.1e}, '
        f'tolerance {args.rtol:.0e}'
    )
    return int(not ok)


if __name__ == '__main__':
    sys.exit(main())
