"""Two processes against one, through the tools' own way to a runner."""

import os
import subprocess
import sys
import time

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.hooks import Hook

from must_mm.models import heads as classifier
from must_mm.models.losses import self_training_loss
from must_mm.utils.distributed import free_port
from tests.ranks import on_ranks
from tests.tiny import BETTER_LABELS, ROOT, launch, tiny_config

RANKS = 2
THRESHOLD = 0.6
TERMS = ('loss_st', 'loss_fair', 'loss_mim', 'loss_align')
# 12 iterations of 8 images; with accumulation 24, 12 steps
VARIANTS = {
    f'{"moving average" if moving else "batch"}, accumulation {counts}': {
        'model.head.fairness.moving_average': moving,
        'optim_wrapper.accumulative_counts': counts,
        'train_cfg.max_epochs': 4 * counts,
    }
    for moving in (False, True)
    for counts in (1, 2)
}
VARIANTS['better labels'] = {'train_cfg.max_epochs': 4, **BETTER_LABELS}
pytestmark = pytest.mark.dist


class Terms(Hook):
    """Keeps the loss terms of every iteration."""

    def __init__(self):
        self.found = []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        self.found.append([float(outputs[name]) for name in TERMS])


def run(config: str, *options: str) -> dict:
    """Train; terms, weights and momentum, a running sum of gradients."""
    runner = launch('train', config, *options)
    terms = Terms()
    runner.register_hook(terms)
    runner.train()
    model = getattr(runner.model, 'module', runner.model)
    momentum = runner.optim_wrapper.optimizer.state_dict()['state']
    return dict(
        terms=torch.tensor(terms.found),
        weights={
            # in another order of the rows: by rank
            name: value.sort(0).values if 'bank' in name else value.clone()
            for name, value in model.state_dict().items()
        },
        momentum={i: s['momentum_buffer'] for i, s in momentum.items()},
    )


def rank_main(rank: int, ports: list[str], folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(RANKS),
        MASTER_ADDR='127.0.0.1',
    )
    found = {}
    for name, port in zip(VARIANTS, ports, strict=True):
        os.environ['MASTER_PORT'] = port  # a store forgets nothing
        found[name] = run(
            f'{folder}/{name}.py',
            '--launcher=pytorch',
            f'--work-dir={folder}/{name}/{RANKS}',
        )
        dist.destroy_process_group()
    torch.save(found, f'{folder}/rank{rank}.pt')


@pytest.fixture(scope='module')
def configs(images, tmp_path_factory):
    """A config for each variant; rates that move the weights visibly."""
    folder = tmp_path_factory.mktemp('configs')
    for name, changes in VARIANTS.items():
        config = tiny_config(images, folder / 'unused', changes)
        # between the confidences, so that the halves have other counts
        config.model.head.threshold = THRESHOLD
        config.train_dataloader.batch_size = 8 // RANKS
        # a gradient of rounding errors alone (the keys' bias) would be
        # blown up by AdamW
        config.optim_wrapper.optimizer = dict(
            type='SGD', lr=0.003, momentum=0.9, weight_decay=0.05
        )
        config.default_hooks.checkpoint = None
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
        config.dump(folder / f'{name}.py')
    return folder


@pytest.fixture(scope='module')
def two_ranks(configs):
    ports = [str(free_port()) for _ in VARIANTS]
    on_ranks(rank_main, ports, str(configs), ranks=RANKS)
    return [torch.load(configs / f'rank{r}.pt') for r in range(RANKS)]


def per_rank_mean(logits, teacher_probs, weights):
    """What the ranks compute: samples are dealt to them like cards."""
    return torch.stack(
        [
            self_training_loss(
                logits[rank::RANKS],
                teacher_probs[rank::RANKS],
                weights[rank::RANKS],
            )
            for rank in range(RANKS)
        ]
    ).mean()


@pytest.mark.skipif(torch.cuda.is_available(), reason='uses the GPU instead')
@pytest.mark.parametrize('name', VARIANTS)
def test_two_ranks_equal_one(configs, two_ranks, monkeypatch, name):
    """Self-training per half batch, everything else on the whole one.

    Tolerance 1e-5 of the largest entry: float32, sums in another order, over
    twelve steps.
    """
    monkeypatch.setattr(classifier, 'self_training_loss', per_rank_mean)
    config = Config.fromfile(configs / f'{name}.py')
    config.train_dataloader.batch_size = 8
    config.dump(configs / 'one.py')
    whole = run(str(configs / 'one.py'), f'--work-dir={configs}/{name}/1')
    ranks = [found[name] for found in two_ranks]

    # the fairness loss is the same on every rank, the others are averaged
    terms = torch.stack([found['terms'] for found in ranks])
    fair = terms[..., TERMS.index('loss_fair')]
    torch.testing.assert_close(fair[0], fair[1])
    torch.testing.assert_close(
        terms.mean(dim=0), whole['terms'], rtol=1e-5, atol=1e-5
    )
    for part in ('momentum', 'weights'):
        for key, expected in whole[part].items():
            bound = 1e-5 * max(1e-3, expected.abs().max().item())
            if part == 'weights':
                bound = 1e-5 * max(1.0, expected.abs().max().item())
            for found in ranks:
                torch.testing.assert_close(
                    found[part][key], expected, rtol=0, atol=bound, msg=key
                )
    # the comparison means something: the weights have moved far
    moved = whole['weights']['head.classifier']
    start = two_ranks[0][name]['weights']['teacher.head.classifier']
    assert (moved - start).abs().max() > 1e-3


def test_halves_matter(configs, two_ranks):
    """Self-training on the whole batch gives other numbers."""
    name = next(iter(VARIANTS))
    config = Config.fromfile(configs / f'{name}.py')
    config.train_dataloader.batch_size = 8
    config.dump(configs / 'other.py')
    whole = run(str(configs / 'other.py'), f'--work-dir={configs}/other')
    found = torch.stack([rank[name]['terms'] for rank in two_ranks])
    difference = (found.mean(dim=0) - whole['terms'])[:, 0].abs().max()
    assert difference > 1e-3


DYING = """
import os, signal, time
from pathlib import Path
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

@HOOKS.register_module()
class DyingHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 4 and get_rank() == 1:
            Path('died').write_text(str(time.time()))
            if os.environ['DEATH'] == 'killed':
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError('the disk of this rank is gone')
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='uses the GPU instead')
@pytest.mark.parametrize(
    'death, reason',
    [
        ('killed', 'Signal 9 (SIGKILL) received'),
        ('error', 'OSError: the disk of this rank is gone'),
    ],
)
def test_a_rank_that_dies(config, tmp_path, subprocess_env, death, reason):
    """The job ends and says why; it resumes on the rank that is left.

    On several ranks: ``test_many_processes.py``.
    """
    config.train_dataloader.batch_size = 4
    config.dump(tmp_path / 'tiny.py')
    (tmp_path / 'dying.py').write_text(DYING)
    config.custom_hooks.append(dict(type='DyingHook'))
    config.custom_imports.imports.append('dying')
    config.dump(tmp_path / 'dying_config.py')
    paths = os.pathsep.join([str(tmp_path), subprocess_env['PYTHONPATH']])
    environment = dict(
        subprocess_env, PYTHON=sys.executable, PYTHONPATH=paths, DEATH=death
    )

    done = subprocess.run(
        ['bash', ROOT / 'tools' / 'dist_train.sh', 'dying_config.py', '2'],
        env=dict(environment, PORT=str(free_port())),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    died = float((tmp_path / 'died').read_text())
    print(f'{death}: the job ended {time.time() - died:.1f} s later')
    assert done.returncode != 0
    assert reason in done.stdout + done.stderr
    assert 'rank      : 1' in done.stdout + done.stderr

    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()
    runner = launch('train', tmp_path / 'tiny.py', '--resume')
    runner.train()
    assert runner.epoch == 3
    saved = torch.load(tmp_path / 'run' / 'epoch_3.pth', weights_only=True)
    # three steps before the death; then six an epoch, on one rank
    assert saved['ema_teacher']['step'] == 3 + 2 * 6
