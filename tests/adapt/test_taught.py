"""The labels that several runs teach: what neighbours and people change."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from mmengine.config import Config

from must_mm.adapt.labels import Known
from must_mm.adapt.taught import lesson, write_lesson
from must_mm.models.class_prior import uniform_prior


def clusters(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Two clusters of features, and which is whose."""
    draws = torch.Generator().manual_seed(0)
    cluster = torch.arange(count) % 2
    noise = 0.2 * torch.randn(count, 3, generator=draws)
    return torch.eye(3)[cluster] + noise, cluster


def sure(labels: torch.Tensor) -> torch.Tensor:
    return F.one_hot(labels, 2).float() * 0.8 + 0.1


def test_neighbours_outvote_a_single_error():
    feats, cluster = clusters()
    said = cluster.clone()
    said[:3] = 1 - said[:3]
    # the second run sees nothing; the first one's neighbours decide
    seen = [feats, torch.ones(60, 4)]
    assert torch.equal(lesson(sure(said), seen, {}), cluster)


def test_neighbours_believe_a_person():
    feats, cluster = clusters()
    unsure = torch.full((60, 2), 0.5)
    found = lesson(unsure, [feats], {0: 1, 1: 0})
    assert torch.equal(found, 1 - cluster)


def test_a_person_prevails_over_neighbours():
    feats, cluster = clusters()
    found = lesson(sure(cluster), [feats], {0: 1})
    assert found[0] == 1 and torch.equal(found[1:], cluster[1:])


def test_labels_are_balanced_where_there_is_a_prior():
    """A preference that neighbours contradict is taken out."""
    feats, cluster = clusters()
    leaning = sure(cluster)
    leaning[cluster == 1] = torch.tensor([0.55, 0.45])
    assert (lesson(leaning, [feats], {}) == 0).all()
    found = lesson(leaning, [feats], {}, uniform_prior(2))
    assert torch.equal(found, cluster)


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
    written = Config.fromfile(write_lesson(job, probs, [feats]))
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
