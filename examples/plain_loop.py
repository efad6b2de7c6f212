"""MUST in a plain PyTorch loop: no config file, no runner, no hooks.

python examples/plain_loop.py start.pth photos --epochs 5 --out adapted.pth

``start.pth`` is a zero-shot classifier of ``tools/convert_clip.py``, and so
is what is written: ``must_mm.load_classifier`` reads it.
"""

import argparse
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import InterpolationMode, v2

from must_mm.models.ema import ema_decay, ema_update
from must_mm.weights.start_file import read_classifier, save_classifier


class Views(Dataset):
    """Two views, (3, S, S) each, and a mask, (n, n), of every image.

    Args:
        folder: Images, at any depth.
        size: Side of the views in pixels.
        patch: Side of the tower's patches in pixels.
        mean: Mean colour, for pixels in [0, 255].
        std: Standard deviation of the colours.
    """

    def __init__(self, folder, size, patch, mean, std):
        self.files = sorted(
            file
            for file in Path(folder).rglob('*')
            if file.suffix.lower() in ('.jpg', '.jpeg', '.png')
        )
        self.grid = size // patch
        bicubic = InterpolationMode.BICUBIC
        normalise = [v2.ToDtype(torch.float32), v2.Normalize(mean, std)]
        self.weak = v2.Compose(
            [v2.Resize(size, bicubic), v2.RandomCrop(size), *normalise]
        )
        self.strong = v2.Compose(
            [
                v2.RandomResizedCrop(size, (0.3, 1.0), interpolation=bicubic),
                v2.RandAugment(),
                *normalise,
            ]
        )

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = decode_image(str(self.files[index]), ImageReadMode.RGB)
        cells = self.grid**2
        mask = torch.zeros(cells, dtype=torch.bool)
        mask[torch.randperm(cells)[: max(1, cells // 10)]] = True
        mask = mask.view(self.grid, self.grid)
        return self.weak(image), self.strong(image), mask


def build(start: str):
    """Build MUST around the classifier in a file.

    Returns:
        The model, with the weights of the file, and its config and classes.
    """
    meta = read_classifier(start)['meta']
    plain = meta['config']['model']
    backbone = plain['backbone']
    width, patch = backbone['arch']['embed_dims'], backbone['patch_size']
    init_default_scope('mmpretrain')
    # or it names every weight that it initialises
    MMLogger.get_instance('plain_loop', log_level='WARNING')
    model = MODELS.build(
        dict(
            type='MUST',
            backbone=backbone,
            neck=plain['neck'],
            head=dict(
                plain['head'],
                threshold=0.7,
                fairness=dict(type='FairnessLoss'),
            ),
            decoder=dict(
                type='SimMIMLinearDecoder',
                in_channels=width,
                encoder_stride=patch,
            ),
            mim_head=dict(
                type='SimMIMHead',
                patch_size=patch,
                loss=dict(
                    type='PixelReconstructionLoss', criterion='L1', channel=3
                ),
            ),
            align_loss=dict(type='GlobalLocalAlignmentLoss', loss_weight=0.2),
            start=dict(type='ConvertedStart', checkpoint=start),
        )
    )
    model.init_weights()
    return model, meta['config'], meta['dataset_meta']['classes']


def train(model, loader, epochs: int, rate: float, device: str) -> None:
    """Train the student, and let the teacher follow."""
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad],
        rate,
        weight_decay=0.05,
    )
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.to(device).train()
    averaged, current = zip(*model.teacher_and_student(), strict=True)
    step = 0
    for epoch in range(epochs):
        for weak, strong, masks in loader:
            losses = model(
                [weak.to(device), strong.to(device)],
                [DataSample(mask=mask) for mask in masks],
                mode='loss',
            )
            loss = sum(v for name, v in losses.items() if 'loss' in name)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            decay = ema_decay(step, 0.9, 0.99, steps // 5)
            ema_update(averaged, current, decay)
            step += 1
        shown = ', '.join(f'{k} {v:.3f}' for k, v in losses.items())
        print(f'epoch {epoch + 1}: {shown}')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('start')
    parser.add_argument('images')
    parser.add_argument('--epochs', type=int, default=5)
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--rate', type=float, default=5e-6)
    parser.add_argument('--out', default='adapted.pth')
    args = parser.parse_args()

    model, config, classes = build(args.start)
    colours = config['model']['data_preprocessor']
    backbone = config['model']['backbone']
    views = Views(
        args.images,
        backbone['img_size'],
        backbone['patch_size'],
        colours['mean'],
        colours['std'],
    )
    batch = min(args.batch, len(views))
    loader = DataLoader(views, batch, shuffle=True, drop_last=True)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    train(model, loader, args.epochs, args.rate, device)

    student = {
        name: weight.cpu()
        for name, weight in model.state_dict().items()
        if name.split('.')[0] in ('backbone', 'neck', 'head')
        and 'fairness_loss' not in name
    }
    save_classifier(args.out, student, config, classes)
    print(args.out)


if __name__ == '__main__':
    main()
