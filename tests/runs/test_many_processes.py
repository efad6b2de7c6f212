"""The ImageNet recipe itself, shrunk, on eight processes and on two nodes.

Real are its hooks, loaders, start, batch rule and launch; smaller are layers,
images, classes and the batch. Gloo joins processes of this machine.
"""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.hooks import Hook

from must_mm.checkpoints import resume
from must_mm.checkpoints.plain import load_tensors
from must_mm.models import heads
from must_mm.models.losses import self_training_loss
from must_mm.utils.distributed import free_port
from must_mm.utils.paths import config_path
from tests.tiny import CLASSES, ROOT, SIZE, launch
from tests.weights.test_open_clip_start import write_clip

pytestmark = [
    pytest.mark.dist,
    pytest.mark.skipif(torch.cuda.is_available(), reason='uses the GPU'),
]
#: 24 images in steps of 8; the teacher averages once in two of them.
TOTAL, PUBLISHED, STEPS = 8, 16, 3


@pytest.fixture
def recipe(images, tmp_path) -> Path:
    """A config that inherits the recipe, and shrinks it."""
    data = tmp_path / 'imagenet'
    data.mkdir()
    for split in ('train', 'val'):
        (data / split).symlink_to(images / 'images')
    cfg = Config.fromfile(config_path('must/vit-b16_imagenet.py'))
    pipelines = [
        loader.dataset.pipeline
        for loader in (cfg.train_dataloader, cfg.val_dataloader)
    ]
    views, mask = pipelines[0][2:4]
    views.transforms[0][0].size = views.transforms[1][0].size = SIZE
    mask.update(input_size=SIZE, mask_patch_size=16, model_patch_size=8)
    pipelines[1][1].scale = pipelines[1][2].crop_size = SIZE
    start = write_clip(tmp_path, name='shrunk_clip')
    shrunk = dict(
        _base_=[str(config_path('must/vit-b16_imagenet.py'))],
        published_batch=PUBLISHED,
        model=dict(
            backbone=dict(
                arch=dict(
                    _delete_=True,
                    embed_dims=128,
                    num_layers=2,
                    num_heads=2,
                    feedforward_channels=512,
                ),
                img_size=SIZE,
                patch_size=8,
            ),
            neck=dict(in_channels=128, out_channels=24),
            head=dict(num_classes=len(CLASSES), in_channels=24, threshold=0.3),
            decoder=dict(in_channels=128, encoder_stride=8),
            mim_head=dict(patch_size=8),
            start=dict(classes=list(CLASSES), **start),
        ),
        # no AdamW, which would blow up gradients of rounding errors
        optim_wrapper=dict(
            optimizer=dict(
                _delete_=True,
                type='SGD',
                lr=0.02,
                momentum=0.9,
                weight_decay=0.05,
            )
        ),
        train_cfg=dict(max_epochs=2),
        param_scheduler=dict(T_max=2),
        visualizer=dict(vis_backends=[]),
    )
    for name, split, pipeline in (
        ('train', 'train', pipelines[0]),
        ('val', 'val', pipelines[1]),
        ('test', 'val', pipelines[1]),
    ):
        shrunk[f'{name}_dataloader'] = dict(
            batch_size=TOTAL,
            num_workers=1,
            dataset=dict(
                data_root=str(data),
                split=split,
                metainfo=dict(classes=CLASSES),
                pipeline=[dict(step) for step in pipeline],
            ),
        )
    path = tmp_path / 'shrunk.py'
    path.write_text(
        ''.join(f'{key} = {value!r}\n' for key, value in shrunk.items())
    )
    return path


class Killed(Hook):
    """Ends a process as a broken node does, in the second epoch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == STEPS + 1:
            os.kill(os.getpid(), signal.SIGKILL)


def _one_rank(rank, ranks, port, argv, log, dies, stale) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(ranks),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=port,
    )
    sys.stdout = sys.stderr = open(f'{log}{rank}.txt', 'w', buffering=1)
    if rank == stale:  # its own choice would be another than rank 0's

        def out_of_reach(path):
            raise OSError(errno.ESTALE, 'Stale file handle', str(path))

        resume.load_tensors = out_of_reach
    runner = launch('train', *argv, '--launcher=pytorch')
    if rank == dies:
        runner.register_hook(Killed())
    runner.train()


def run(ranks: int, *argv, log: Path, dies=None, stale=None) -> list[int]:
    """Start as many processes; exit codes, all ended when one has died."""
    fork, port = mp.get_context('fork'), str(free_port())
    processes = [
        fork.Process(
            target=_one_rank, args=(rank, ranks, port, argv, log, dies, stale)
        )
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    if dies is not None:
        processes[dies].join(300)
    for process in processes:
        if dies is not None:
            process.kill()  # as torchrun does
        process.join(300)
    return [process.exitcode for process in processes]


def per_rank_mean(ranks: int):
    """Self-training as the ranks compute it, dealt samples like cards."""

    def mean(logits, teacher_probs, *weights):
        return torch.stack(
            [
                self_training_loss(
                    logits[rank::ranks],
                    teacher_probs[rank::ranks],
                    *(weight[rank::ranks] for weight in weights),
                )
                for rank in range(ranks)
            ]
        ).mean()

    return mean


@pytest.mark.slow
def test_eight_processes_then_four(recipe, tmp_path, monkeypatch, plain_logs):
    """Start, an epoch, a rank dies, resume on four: as one process trains.

    Tolerance 1e-5 of the largest entry: float32, sums in another order.
    """
    argv = recipe, f'--work-dir={tmp_path}/run'
    options = '--cfg-options', 'train_dataloader.batch_size=1'
    codes = run(8, *argv, *options, log=tmp_path / 'eight', dies=5)
    first = (tmp_path / 'eight0.txt').read_text()
    assert codes[5] == -signal.SIGKILL, first[-3000:]
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file(), first[-3000:]
    assert 'total batch 8 (8 processes x 1 images x 1 accum' in first
    built = [
        log.name
        for log in tmp_path.glob('eight*.txt')
        if 'building the zero-shot classifier' in log.read_text()
    ]
    # and nobody waits in a collective meanwhile; none says so where a test
    # before this one has set the log to warnings
    assert len(built) <= 1
    saved = load_tensors(tmp_path / 'run' / 'epoch_1.pth')
    assert saved['ema_teacher'] == dict(step=1, images=TOTAL)

    options = '--resume', '--cfg-options', 'train_dataloader.batch_size=2'
    codes = run(4, *argv, *options, log=tmp_path / 'four', stale=3)
    second = (tmp_path / 'four0.txt').read_text()
    assert codes == [0] * 4, second[-3000:]
    assert f'goes on from {tmp_path}/run/epoch_1.pth' in second
    found = load_tensors(tmp_path / 'run' / 'epoch_2.pth')
    assert found['ema_teacher'] == dict(step=3, images=0)

    class Ranks(Hook):
        """The losses of eight ranks, then of four."""

        def before_train_epoch(self, runner):
            loss = per_rank_mean((8, 4)[runner.epoch])
            monkeypatch.setattr(heads, 'self_training_loss', loss)

    one = launch('train', recipe, f'--work-dir={tmp_path}/one')
    one.register_hook(Ranks())
    one.train()
    for epoch, content in ((1, saved), (2, found)):
        expected = load_tensors(tmp_path / 'one' / f'epoch_{epoch}.pth')
        assert content['ema_teacher'] == expected['ema_teacher']
        for name, value in expected['state_dict'].items():
            torch.testing.assert_close(
                content['state_dict'][name],
                value,
                rtol=0,
                atol=1e-5 * max(1.0, value.abs().max().item()),
                msg=lambda text, name=name: f'{name}: {text}',
            )
    moved = expected['state_dict']
    head, teacher = moved['head.classifier'], moved['teacher.head.classifier']
    assert (head - teacher).abs().max() > 1e-4  # it means something


@pytest.mark.slow
def test_two_nodes(recipe, tmp_path, subprocess_env):
    """Two rendezvous agents; neither home nor work dir are shared."""

    def train(*options: str) -> list[str]:
        port = str(free_port())
        nodes = []
        for node in range(2):
            home = tmp_path / f'node{node}'
            home.mkdir(exist_ok=True)
            environment = dict(
                subprocess_env,
                PYTHON=sys.executable,
                HOME=str(home),
                MUST_MM_CACHE=str(home / 'cache'),
                NNODES='2',
                NODE_RANK=str(node),
                PORT=port,
            )
            command = ['bash', ROOT / 'tools' / 'dist_train.sh', recipe, '1']
            command += [*options, '--cfg-options']
            command += ['train_dataloader.batch_size=4']
            nodes.append(
                subprocess.Popen(
                    [*map(str, command)],
                    env=environment,
                    cwd=home,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        shown = [node.communicate(timeout=400)[0] for node in nodes]
        for node, text in zip(nodes, shown, strict=True):
            assert node.returncode == 0, text[-3000:]
        return shown

    shown = train('--cfg-options', 'train_cfg.max_epochs=1')
    for text in shown:  # once a node
        assert text.count('building the zero-shot classifier') == 1
    assert 'total batch 8 (2 processes x 4 images x 1 accum' in shown[0]
    checkpoints = list(tmp_path.glob('node*/work_dirs/shrunk/*.pth'))
    assert [path.name for path in checkpoints] == ['epoch_1.pth']

    shown = train('--resume')
    assert 'goes on from work_dirs/shrunk/epoch_1.pth' in shown[0]
    for text in shown:
        assert 'building the zero-shot classifier' not in text
    last = load_tensors(tmp_path / 'node0/work_dirs/shrunk/epoch_2.pth')
    assert last['meta']['iter'] == 2 * STEPS
    assert last['ema_teacher'] == dict(step=3, images=0)
