"""The labels that several runs teach: what neighbours and people change."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from mmengine.config import Config

from must_mm.adapt.labels import Known
from must_mm.adapt.lesson import lesson
from must_mm.adapt.said import Said, said_of
from must_mm.adapt.taught import lesson_of, write_lesson
from must_mm.models.class_prior import uniform_prior


def clusters(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Two clusters of features, and which is whose."""
    draws = torch.Generator().manual_seed(0)
    cluster = torch.arange(count) % 2
    noise = 0.2 * torch.randn(count, 3, generator=draws)
    return torch.eye(3)[cluster] + noise, cluster


def sure(labels: torch.Tensor) -> torch.Tensor:
    return F.one_hot(labels, 2).float() * 0.8 + 0.1


def leaning(cluster: torch.Tensor, unsure: int) -> torch.Tensor:
    """One of the clusters leans towards the class of the other."""
    probs = sure(cluster)
    probs[cluster == unsure] = 0.45
    probs[cluster == unsure, 1 - unsure] = 0.55
    return probs


def one_says(probs: torch.Tensor, *feats: torch.Tensor) -> Said:
    """What a run says that sees what all of them see."""
    return said_of([f'{n}.png' for n in range(len(probs))], probs[None], feats)


def test_neighbours_outvote_a_single_error():
    feats, cluster = clusters()
    said = cluster.clone()
    said[:3] = 1 - said[:3]
    # the second run sees nothing; the first one's neighbours decide
    found = lesson(one_says(sure(said), feats, torch.ones(60, 4)), {})
    assert torch.equal(found.labels, cluster)


def test_neighbours_believe_a_person():
    feats, cluster = clusters()
    unsure = torch.full((60, 2), 0.5)
    found = lesson(one_says(unsure, feats), {'0.png': 1, '1.png': 0})
    assert torch.equal(found.labels, 1 - cluster)


def test_a_person_prevails_over_neighbours():
    feats, cluster = clusters()
    found = lesson(one_says(sure(cluster), feats), {'0.png': 1}).labels
    assert found[0] == 1 and torch.equal(found[1:], cluster[1:])


def test_a_person_outweighs_runs_that_are_not_sure():
    """One label turns a cluster of thirty that lean the other way."""
    feats, cluster = clusters()
    said = one_says(leaning(cluster, 0), feats)
    assert (lesson(said, {}).labels == 1).all()
    found = lesson(said, {'0.png': 0}).labels
    assert torch.equal(found, cluster)


def test_labels_are_balanced_where_there_is_a_prior():
    """A preference that neighbours contradict is taken out."""
    feats, cluster = clusters()
    said = one_says(leaning(cluster, 1), feats)
    assert (lesson(said, {}).labels == 0).all()
    found = lesson(said, {}, uniform_prior(2))
    assert torch.equal(found.labels, cluster)


def test_what_was_said_of_some_of_the_images():
    """In another order, and without the edges to the others."""
    feats, cluster = clusters()
    said = one_says(sure(cluster), feats)
    names = ['9.png', '2.png', '4.png', '7.png']
    some = said.only(names)
    assert some.names == names
    assert torch.equal(some.probs, said.probs[[9, 2, 4, 7]])
    assert torch.equal(some.votes, said.votes[:, [9, 2, 4, 7]])
    for row, (name, near) in enumerate(zip(names, some.near, strict=True)):
        place = int(name.removesuffix('.png'))
        for k, (weight, other) in enumerate(
            zip(some.cosine[row], near, strict=True)
        ):
            was = f'{said.near[place, k]}.png'
            if was in names:
                assert names[other] == was
                assert weight == said.cosine[place, k]
            else:
                assert weight == 0
    assert lesson(some, {}).labels.tolist() == [1, 0, 0, 1]


def test_what_is_left_out_does_not_balance():
    """Labels are shifted as if the others had never been asked."""
    feats, cluster = clusters()
    said = one_says(leaning(cluster, 1), feats)
    some = said.only([f'{n}.png' for n in range(0, 60, 3)])
    own = torch.arange(20)[:, None]
    assert (some.near == own).any()
    assert (some.cosine[some.near == own] == 0).all()
    found = lesson(some, {}, uniform_prior(2))
    assert torch.equal(found.labels, cluster[::3])


def test_who_is_taught_what(tmp_path):
    """Not who has gone or is of no class; who lies elsewhere, too."""
    feats, cluster = clusters()
    names = [f'{n}.png' for n in range(60)]
    elsewhere = '/elsewhere/0.png'
    trained = [name for name in names if name != '7.png'] + [elsewhere]
    listed = tmp_path / 'trained.txt'
    listed.write_text('\n'.join(trained) + '\n')
    probs = sure(cluster)
    probs[3] = float('nan')
    cfg = Config(
        dict(
            model=dict(label_loss=dict(type='LabelLoss', loss_weight=3.0)),
            train_dataloader=dict(
                dataset=dict(dataset='CustomDataset', ann_file=str(listed))
            ),
        )
    )
    job = SimpleNamespace(
        cfg=cfg,
        out=tmp_path,
        known=Known({elsewhere: 0, '5.png': 0}, {'7.png'}),
        images=SimpleNamespace(names=names),
        prior=None,
    )
    there = [n for n in range(60) if n != 3]
    said = said_of(
        [names[n] for n in there], probs[None, there], [feats[there]]
    )
    written = Config.fromfile(write_lesson(job, lesson_of(job, said)))
    lines = (tmp_path / 'taught.txt').read_text().splitlines()
    found = dict(line.rsplit(' ', 1) for line in lines)
    expected = dict(zip(names, map(str, cluster.tolist()), strict=True))
    expected |= {elsewhere: '0', '5.png': '0'}
    del expected['3.png'], expected['7.png']
    assert found == expected
    dataset = written.train_dataloader.dataset
    assert dataset.labels == str(tmp_path / 'taught.txt')
    assert written.model.label_loss.loss_weight == 3.0
    assert 'labels' not in cfg.train_dataloader.dataset  # the run's own
