"""The linear probe against separate runs and against plain NumPy."""

import math

import numpy as np
import pytest
import torch

from must_mm.evaluation import linear_probe
from must_mm.evaluation.linear import BASE_LRS, train_probes


def blobs(noise: float, seed: int = 0):
    """Four classes around random centres: 300 to learn, 200 to judge."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, 6, generator=random)
    labels = torch.randint(4, (500,), generator=random)
    features = centres[labels] + noise * torch.randn(500, 6, generator=random)
    features = 3 * features + 5  # batch norm takes scale and offset away
    return features[:300], labels[:300], features[300:], labels[300:]


def test_ten_rates_by_default():
    assert BASE_LRS == (
        0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1,
    )  # fmt: skip


def test_separable_data_is_separated():
    found = linear_probe(*blobs(0.05), batch_size=64, epochs=10)
    assert found == dict.fromkeys(BASE_LRS, 1.0)


def test_ten_rates_equal_ten_runs():
    """Bit for bit: no classifier knows of the others."""
    (train, labels, *_), options = blobs(1.0), dict(batch_size=64, epochs=3)
    _, together = train_probes(train, labels, **options)
    assert len(together) == 10
    for rate, probe in zip(BASE_LRS, together, strict=True):
        _, (alone,) = train_probes(train, labels, [rate], **options)
        assert torch.equal(probe.weight, alone.weight)
        assert torch.equal(probe.bias, alone.bias)
    assert len({float(probe.bias[0]) for probe in together}) == 10


def numpy_probe(train, labels, base_lr, epochs, batch_size, warmup, seed):
    """The protocol, step by step: statistics, weights and biases."""
    train, labels = train.double().numpy(), labels.numpy()
    onehot = np.eye(4)[labels]
    weight, bias = np.zeros((6, 4)), np.zeros(4)
    weight_momentum, bias_momentum = np.zeros((6, 4)), np.zeros(4)
    mean, var = np.zeros(6), np.ones(6)
    order = torch.Generator().manual_seed(seed)
    per_epoch = len(train) // batch_size
    steps, step = epochs * per_epoch, 0
    rising = int(warmup * steps)
    for _ in range(epochs):
        shuffled = torch.randperm(len(train), generator=order).numpy()
        for i in range(per_epoch):
            batch = shuffled[i * batch_size : (i + 1) * batch_size]
            x = train[batch]
            mean = 0.9 * mean + 0.1 * x.mean(0)
            var = 0.9 * var + 0.1 * x.var(0, ddof=1)
            x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
            logits = x @ weight + bias
            probs = np.exp(logits - logits.max(1, keepdims=True))
            probs /= probs.sum(1, keepdims=True)
            error = (probs - onehot[batch]) / batch_size
            weight_momentum = 0.9 * weight_momentum + x.T @ error
            bias_momentum = 0.9 * bias_momentum + error.sum(0)
            lr = base_lr * batch_size / 256
            if step < rising:
                lr *= (step + 1) / (rising + 1)
            else:
                part = (step - rising) / (steps - rising)
                lr *= (1 + math.cos(math.pi * part)) / 2
            weight -= lr * weight_momentum
            bias -= lr * bias_momentum
            step += 1
    return mean, var, weight.T, bias


@pytest.mark.parametrize('base_lr', [0.01, 0.1])
def test_equals_numpy(base_lr):
    """Few steps: the running statistics are still far from the data's."""
    train, labels, test, test_labels = blobs(1.5)
    options = dict(epochs=3, batch_size=64, warmup=0.2, seed=3)
    norm, (probe,) = train_probes(train, labels, [base_lr], **options)
    found = norm.running_mean, norm.running_var, probe.weight, probe.bias
    expected = numpy_probe(train, labels, base_lr, **options)
    for ours, reference in zip(found, expected, strict=True):
        # twelve float32 steps
        np.testing.assert_allclose(
            ours.detach(), reference, rtol=1e-4, atol=1e-6
        )

    mean, var, weight, bias = expected
    logits = (test.numpy() - mean) / np.sqrt(var + 1e-5) @ weight.T + bias
    correct = logits.argmax(1) == test_labels.numpy()
    rates = linear_probe(
        train, labels, test, test_labels, [base_lr], **options
    )
    assert rates == {base_lr: correct.mean()}
    assert 0.3 < correct.mean() < 0.9


def test_small_sets_are_one_batch():
    """Fewer images than a batch are not skipped."""
    train, labels, test, test_labels = blobs(0.05)
    found = linear_probe(train[:40], labels[:40], test, test_labels)
    assert max(found.values()) > 0.95


@pytest.mark.parametrize(
    'options', [dict(epochs=0), dict(warmup=1.0), dict(base_lrs=[])]
)
def test_settings_out_of_range(options):
    with pytest.raises(ValueError, match='a linear probe needs epochs >= 1'):
        linear_probe(*blobs(1.0), **options)


def test_unusable_input_says_so():
    train, labels, test, test_labels = blobs(1.0)
    with pytest.raises(ValueError, match='two features or more'):
        linear_probe(train[:1], labels[:1], test, test_labels)
    with pytest.raises(ValueError, match='training .*: labels are missing'):
        linear_probe(train, None, test, test_labels)
