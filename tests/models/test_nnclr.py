"""The head: its loss, what it updates, and two processes against one."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.distributed.nn.functional import all_reduce

from must_mm.models.nnclr import NNCLRHead, nnclr_loss
from tests.ranks import on_ranks

WIDTH, DIM, BATCH = 12, 6, 8


def head_config(norm='BN1d', topk=1, target_decay=0.9) -> dict:
    neck = dict(
        type='NonLinearNeck', with_avg_pool=False, norm_cfg=dict(type=norm)
    )
    return dict(
        projector=dict(
            **neck,
            in_channels=WIDTH,
            hid_channels=16,
            out_channels=DIM,
            num_layers=3,
        ),
        predictor=dict(
            **neck,
            in_channels=DIM,
            hid_channels=20,
            out_channels=DIM,
            num_layers=2,
            with_last_bn=False,
        ),
        queue=dict(type='NNQueue', size=4 * BATCH, dim=DIM, topk=topk),
        temperature=0.2,
        target_decay=target_decay,
    )


def build(**options) -> NNCLRHead:
    torch.manual_seed(0)
    head = NNCLRHead(**head_config(**options))
    head.init_weights()
    return head.train()


def views_of(step=0, rows=slice(None)):
    generator = torch.Generator().manual_seed(100 + step)
    return torch.randn(2, BATCH, WIDTH, generator=generator)[:, rows].clone()


def samples_of(step=0, rows=slice(None), labels=True):
    samples = []
    # the third step brings back the samples of the first
    for number in range(BATCH * (step % 2), BATCH * (step % 2 + 1)):
        sample = DataSample()
        sample.set_field(number, 'sample_idx', field_type='metainfo')
        if labels:
            sample.set_gt_label(number % 3)
        samples.append(sample)
    return samples[rows]


def test_loss_by_the_equation():
    """Rows are neighbours, columns predictions, the diagonal is right."""
    generator = torch.Generator().manual_seed(0)
    neighbours = F.normalize(torch.randn(5, 4, generator=generator))
    predicted = 3 * torch.randn(5, 4, generator=generator)
    neighbours.requires_grad_()
    predicted.requires_grad_()
    expected = 0
    for row in range(5):
        scores = [
            F.cosine_similarity(neighbours[row], column, dim=0) / 0.1
            for column in predicted
        ]
        expected -= (scores[row] - torch.stack(scores).logsumexp(0)).item() / 5
    loss = nnclr_loss(neighbours, predicted, 0.1)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert neighbours.grad is None and predicted.grad.abs().sum() > 0


def test_each_view_meets_the_others_neighbours():
    """The total again from the parts, views embedded one by one."""
    head = build()
    other = copy.deepcopy(head)
    views, samples = views_of(), samples_of()
    found = head.loss(views, samples)
    ids = torch.arange(BATCH)
    p = [other.predictor(other.projector((x,)))[0] for x in views]
    z = [F.normalize(other.target_projector((x,))[0]) for x in views]
    nearest = [other.queue.feats[other.queue.lookup(v, ids)] for v in z]
    expected = (
        nnclr_loss(nearest[0], p[1], 0.2) + nnclr_loss(nearest[1], p[0], 0.2)
    ) / 2
    torch.testing.assert_close(found['loss'], expected)
    # enqueued is the first view, after both lookups
    assert torch.equal(head.queue.feats[:BATCH], z[0])
    assert head.queue.sample_ids[:BATCH].tolist() == list(range(BATCH))


def test_gradients_reach_projector_and_predictor_only():
    head = build()
    head.loss(views_of(), samples_of())['loss'].backward()
    trained = {n for n, p in head.named_parameters() if p.grad is not None}
    assert {name.split('.')[0] for name in trained} == {
        'projector',
        'predictor',
    }
    assert {n for n, p in head.named_parameters() if p.requires_grad} == (
        trained
    )


def test_queue_rests_in_evaluation():
    head = build().eval()
    before = copy.deepcopy(head.queue.state_dict())
    head.loss(views_of(), samples_of())
    for name in ('feats', 'sample_ids', 'pointer'):
        assert torch.equal(head.queue.state_dict()[name], before[name])


def test_neighbours_labels_are_logged_where_known():
    head = build()
    head.queue.labels.fill_(1)
    found = head.loss(views_of(), samples_of())
    # labels 0 1 2 0 1 2 0 1: three of eight agree
    assert found['nn_accuracy'].item() == pytest.approx(3 / 8)
    found = head.loss(views_of(), samples_of(labels=False))
    assert set(found) == {'loss'}


def test_labels_reach_no_loss():
    losses = []
    for labels in (True, False):
        head = build()
        steps = [
            head.loss(views_of(t), samples_of(t, labels=labels))['loss']
            for t in range(3)
        ]
        losses.append(torch.stack(steps))
    assert torch.equal(*losses)


def test_target_averages_weights_and_copies_statistics():
    head = build()
    head.loss(views_of(), samples_of())
    with torch.no_grad():
        for param in head.projector.parameters():
            param += torch.randn_like(param)
    before = copy.deepcopy(head.target_projector.state_dict())
    head.update_target()
    source = head.projector.state_dict()
    statistics = dict(head.projector.named_buffers())
    for name, value in head.target_projector.state_dict().items():
        if name in statistics:
            assert torch.equal(value, source[name])
        else:
            torch.testing.assert_close(
                value, 0.9 * before[name] + 0.1 * source[name]
            )
            assert not torch.equal(before[name], source[name])


def test_without_target_the_projector_embeds():
    head = build(target_decay=None)
    other = copy.deepcopy(head)
    views = views_of()
    head.loss(views, samples_of())
    z = F.normalize(other.projector((views[0],))[0])
    assert torch.equal(head.queue.feats[:BATCH], z)
    assert not any('target' in name for name in head.state_dict())


def test_head_without_target_fills_both_projectors():
    head, trained = build(), build(target_decay=None)
    with torch.no_grad():
        trained.projector.fc0.weight += 1
    missing, unexpected = head.load_state_dict(trained.state_dict())
    assert not missing and not unexpected
    for name, value in trained.projector.state_dict().items():
        assert torch.equal(head.target_projector.state_dict()[name], value)


def test_samples_without_an_id_say_so():
    with pytest.raises(ValueError, match="keep 'sample_idx' in the meta_keys"):
        build().loss(views_of(), [DataSample() for _ in range(BATCH)])


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(temperature=0), r'head.temperature must lie in \(0, inf\)'),
        (dict(target_decay=1.5), r'target_decay must lie in \[0, 1\]'),
        (
            dict(queue=dict(type='NNQueue', size=8, dim=7)),
            'projector.out_channels is 6.*queue.dim is 7',
        ),
    ],
)
def test_bad_settings_name_the_key(changes, words):
    with pytest.raises(ValueError, match=words):
        NNCLRHead(**{**head_config(), **changes})


# ------------------------------------------------------- two processes and one


class AllReduceBN(nn.BatchNorm1d):
    """Batch norm over all processes; torch's own refuses CPU tensors."""

    def forward(self, x):
        count = len(x) * dist.get_world_size()
        mean = all_reduce(x.sum(0)) / count
        var = all_reduce((x - mean).pow(2).sum(0)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            unbiased = var * count / (count - 1)
            self.running_var.lerp_(unbiased, self.momentum)
        x = (x - mean) / (var + self.eps).sqrt()
        return x * self.weight + self.bias


class Network(nn.Module):
    """Something for data-parallel training to wrap."""

    def __init__(self, **options):
        super().__init__()
        self.head = build(**options)

    def forward(self, *args):
        return self.head.loss(*args)['loss']


CASES = [
    dict(target_decay=None),
    dict(target_decay=0.9, topk=5),
]


def three_steps(network, head, rows) -> dict:
    """Loss, gradients and queue of this process."""
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
    found = dict(loss=[], views=[])
    for step in range(3):
        views = views_of(step, rows).requires_grad_()
        loss = network(views, samples_of(step, rows))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        head.update_target()
        found['loss'].append(loss.detach())
        found['views'].append(views.grad)
    found['weights'] = head.state_dict()
    found['grads'] = [p.grad for p in head.parameters() if p.requires_grad]
    return found


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=2,
    )
    init_default_scope('mmpretrain')
    MODELS.register_module(module=AllReduceBN)
    half = BATCH // 2
    results = []
    for options in CASES:
        network = Network(norm='AllReduceBN', **options)
        wrapped = nn.parallel.DistributedDataParallel(
            network, broadcast_buffers=False
        )
        rows = slice(rank * half, rank * half + half)
        results.append(three_steps(wrapped, network.head, rows))
    torch.save(results, f'{folder}/rank{rank}.pt')
    dist.destroy_process_group()


def assert_close(found, expected):
    """1e-5 of the largest entry: float32, sums in another order.

    The floor is for the bias that the predictor's batch norm removes: it has
    no gradient but rounding noise.
    """
    bound = 1e-5 * expected.abs().max().item() + 1e-7
    torch.testing.assert_close(found, expected, rtol=0, atol=bound)


@pytest.mark.dist
def test_two_ranks_equal_one_on_the_whole_batch(tmp_path):
    """Loss, gradients to both views and all weights, queue, draws."""
    on_ranks(one_rank, str(tmp_path))
    ranks = [torch.load(tmp_path / f'rank{rank}.pt') for rank in (0, 1)]
    for number, options in enumerate(CASES):
        network = Network(**options)
        whole = three_steps(network, network.head, slice(None))
        first, second = (rank[number] for rank in ranks)
        for step in range(3):
            losses = first['loss'][step], second['loss'][step]
            assert losses[0] != losses[1]
            assert_close(sum(losses) / 2, whole['loss'][step])
            # a rank's gradient is that of the sum of both ranks' losses
            views = [rank['views'][step] / 2 for rank in (first, second)]
            assert_close(torch.cat(views, dim=1), whole['views'][step])
        for ours, expected in zip(first['grads'], whole['grads'], strict=True):
            assert_close(ours, expected)
        for name, expected in whole['weights'].items():
            for rank in (first, second):
                if expected.is_floating_point():
                    assert_close(rank['weights'][name], expected)
                else:  # ids, labels, pointer, seed, counters
                    assert torch.equal(rank['weights'][name], expected), name
