"""How far a converted tower's logits are from open_clip's.

Random weights, open_clip's own architecture (fewer blocks where asked), and
the whole way a user goes: weights file, conversion, classifier from the file.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F

from must_mm.runs.arguments import positive
from must_mm.weights.clip_weights import load_clip
from must_mm.weights.open_clip_start import OpenCLIPStart
from must_mm.weights.start_file import load_classifier
from must_mm.weights.text import text_classifier

CLASSES = ['ant', 'bee', 'cat', 'a very long name of a dog', 'emu']
TEMPLATES = ['a photo of a {}.', 'the {}.', '{}']
# Vision towers are what is compared; one small text tower does for all, and
# its tokenizer comes with open_clip.
TEXT = dict(context_length=16, vocab_size=49408, width=64, heads=1, layers=1)


def parse_tower(text: str) -> tuple[str, str, int | None, int | None]:
    """Read ``NAME[:BLOCKS][@PIXELS]``, as a ``type`` of :mod:`argparse`.

    Returns:
        The text itself, the name, and the two numbers that may be left out.
    """
    rest, at, pixels = text.partition('@')
    name, colon, blocks = rest.partition(':')
    return (
        text,
        name,
        positive(blocks) if colon else None,
        positive(pixels) if at else None,
    )


def write_random_clip(
    folder: str | Path,
    model: str,
    vision: dict | None = None,
    seed: int = 0,
) -> dict[str, str]:
    """Write config and weights of a random CLIP.

    Args:
        folder: Where to put the two files.
        model: Name of an open_clip architecture.
        vision: Changes to its ``vision_cfg``, such as ``dict(layers=2)``.
        seed: Seed of the weights. Norms and biases are not trivial.

    Returns:
        ``model`` and ``pretrained``, the files' paths.

    Raises:
        ValueError: If open_clip does not know the architecture, or its
            module, which is timm's, has no such option.
    """
    config = open_clip.get_model_config(model)
    if config is None:
        raise ValueError(f'open_clip knows no {model!r}')
    vision = vision or {}
    if 'timm_model_name' in config['vision_cfg'] and 'layers' in vision:
        raise ValueError(f'{model} has no number of blocks to change')
    config['vision_cfg'].update(vision)
    config.update(text_cfg=TEXT, custom_text=False)
    # 'siglip' in a name would ask for SigLIP's tokenizer
    name = f'random_{model.replace("/", "-").lower().replace("siglip", "sl")}'
    files = dict(
        model=str(Path(folder, f'{name}.json')),
        pretrained=str(Path(folder, f'{name}.pt')),
    )
    Path(files['model']).write_text(json.dumps(config))
    open_clip.add_model_config(files['model'])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = open_clip.create_model(name)
        with torch.no_grad():
            for param in clip.parameters():
                param += 0.02 * torch.randn_like(param)
            clip.logit_scale.fill_(4.0)
    torch.save(clip.state_dict(), files['pretrained'])
    return files


@torch.no_grad()
def clip_logits(
    files: dict[str, str],
    images: torch.Tensor,
    image_size: int | None = None,
) -> torch.Tensor:
    """What open_clip's own zero-shot classifier says, (B, K).

    Without the constant that SigLIP adds to all logits: it moves no softmax.
    """
    name = Path(files['model']).stem
    clip = load_clip(name, files['pretrained'], image_size)
    weights = text_classifier(
        clip, open_clip.get_tokenizer(name), CLASSES, TEMPLATES
    )
    features = clip.encode_image(images, normalize=True)
    return clip.logit_scale.exp() * features @ weights


@torch.no_grad()
def tower_error(
    folder: str | Path,
    model: str,
    vision: dict | None = None,
    image_size: int | None = None,
    batch: int = 2,
) -> float:
    """Largest difference of logits over the largest logit of open_clip.

    Args:
        folder: Where to put the files.
        model: Name of an open_clip architecture.
        vision: See :func:`write_random_clip`.
        image_size: Side of the images in pixels, if not the architecture's.
        batch: Number of random images.

    Raises:
        ValueError: See :func:`write_random_clip`.
        RuntimeError: If the comparison would mean nothing, as all images
            have the same logits.
    """
    files = write_random_clip(folder, model, vision)
    name = Path(files['model']).stem
    size = open_clip.get_model_config(name)['vision_cfg']['image_size']
    size = image_size or size
    generator = torch.Generator().manual_seed(1)
    # smooth images: of white noise, pooling leaves nothing to tell apart
    images = F.interpolate(
        2 * torch.randn(batch, 3, 4, 4, generator=generator),
        size=(size, size),
        mode='bicubic',
    )
    expected = clip_logits(files, images, image_size)
    if batch > 1 and expected.std(0).max() < 1e-3 * expected.abs().max():
        raise RuntimeError(f'{model}: the random tower ignores its images')
    converted = Path(folder, 'converted.pth')
    OpenCLIPStart(
        **files, classes=CLASSES, templates=TEMPLATES, image_size=image_size
    ).build(converted)
    found = load_classifier(converted)(images)
    return ((found - expected).abs().max() / expected.abs().max()).item()


def main(argv: list[str] | None = None) -> int:
    """Command line of ``python -m tests.long.tower_check``."""
    parser = argparse.ArgumentParser(
        description="Compare converted towers with open_clip's own, on "
        'random weights.'
    )
    parser.add_argument(
        'models',
        nargs='+',
        type=parse_tower,
        metavar='NAME[:BLOCKS][@PIXELS]',
        help='open_clip architectures, e.g. ViT-B-32, ViT-g-14:4, '
        'ViT-B-16@384',
    )
    parser.add_argument(
        '--rtol', type=float, default=1e-4, help='largest relative error'
    )
    args = parser.parse_args(argv)
    worst = 0.0
    for model, name, blocks, pixels in args.models:
        with tempfile.TemporaryDirectory() as folder:
            error = tower_error(
                folder,
                name,
                vision=dict(layers=blocks) if blocks else None,
                image_size=pixels,
            )
        print(f'{model:32} {error:8.1e}', flush=True)
        worst = max(worst, error)
    return int(not worst <= args.rtol)


if __name__ == '__main__':
    sys.exit(main())
