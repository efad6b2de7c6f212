"""Which images are labelled: those that the review asks for, or any."""

from __future__ import annotations

from pathlib import Path

import torch

from must_mm.adapt.predict import MIXED, Seen, logits_and_features, predictions
from must_mm.adapt.trust import (
    calibrated_runs,
    strangeness,
    temperature_of,
    trust_of,
)
from must_mm.evaluation.calibration import mix, mixed_pairs
from must_mm.evaluation.duplicates import small_copies
from must_mm.models.must import MUST

BATCH = 64


@torch.no_grad()
def look(model: MUST, pixels: torch.Tensor) -> Seen:
    """Show images (N, 3, H, W) to the student, as must-adapt does."""
    model.eval()
    draws = torch.Generator().manual_seed(0)
    order = torch.randperm(len(pixels), generator=draws)
    found, blends, count = [], [], 0
    for batch in pixels[order].split(BATCH):
        images = model.data_preprocessor(dict(inputs=batch))['inputs']
        logits, features = logits_and_features(model, images)
        found.append([logits, features, small_copies(batch)])
        labels = logits.argmax(dim=1)
        one, other = mixed_pairs(labels, draws)
        if count < MIXED and len(one):
            blended = mix(images[one], images[other])
            logits = logits_and_features(model, blended)[0]
            blends.append([logits, labels[one]])
            count += len(one)
    parts = map(torch.cat, zip(*found, strict=True))
    back = order.argsort()
    mixed = map(torch.cat, zip(*blends, strict=True))
    return Seen(*(part[back] for part in parts), *mixed)


def by_review(start: Seen, result: Seen, count: int, seed: int) -> list[int]:
    """Indices of the images that must-adapt would ask for."""
    temperature = temperature_of(result)
    (probs,) = calibrated_runs([result], [temperature])
    found = predictions(
        Path(),
        [str(number) for number in range(len(probs))],
        start.probabilities,
        probs,
        strangeness=strangeness(start),
    )
    trust = trust_of(found, start, result, probs, temperature, 1, count, seed)
    return [int(image.prediction.name) for image in trust.review]


def by_chance(total: int, count: int, seed: int) -> list[int]:
    """Indices drawn at random; more of them hold those of fewer."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randperm(total, generator=draw)[:count].tolist()
