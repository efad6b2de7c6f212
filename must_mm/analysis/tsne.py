"""t-SNE of the global features of a labelled data set."""

import numpy as np
import torch
from mmengine.runner import Runner

from ..models.must import MUST
from ..runs import arguments


@torch.no_grad()
def features(
    model: MUST, loader, per_class: int
) -> tuple[np.ndarray, np.ndarray]:
    """Extract the global features of a few images of each class.

    Args:
        model: A model in eval mode.
        loader: Batches of labelled images.
        per_class: Largest number of images of a class.

    Returns:
        Features, float32, (N, E), of unit length, and labels, (N,).
    """
    found, labels, seen = [], [], {}
    for data in loader:
        batch = model.data_preprocessor(data, False)
        rows = model.extract_feat(batch['inputs'])[-1].float().cpu()
        for row, sample in zip(rows, batch['data_samples'], strict=True):
            label = int(sample.gt_label)
            seen[label] = seen.get(label, 0) + 1
            if seen[label] <= per_class:
                found.append(row.numpy())
                labels.append(label)
    return np.stack(found), np.asarray(labels)


def embed(rows: np.ndarray, perplexity: float, seed: int = 0) -> np.ndarray:
    """Place features in the plane, (N, 2), by scikit-learn's t-SNE.

    Raises:
        ValueError: If there are not more rows than the perplexity.
    """
    from sklearn.manifold import TSNE

    if len(rows) <= perplexity:
        raise ValueError(
            f'--perplexity {perplexity:g} needs more images than {len(rows)}'
        )
    return TSNE(
        perplexity=perplexity, init='pca', random_state=seed
    ).fit_transform(rows)


def draw(points: np.ndarray, labels: np.ndarray, classes, path: str) -> None:
    """Scatter the points, one colour and one legend entry a class."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 6))
    colours = plt.get_cmap('nipy_spectral')
    present = sorted(set(labels.tolist()))
    for i, label in enumerate(present):
        shown = points[labels == label]
        colour = colours((i + 0.5) / len(present))
        axes.scatter(*shown.T, s=12, color=colour, label=classes[label])
    axes.set_xticks([])
    axes.set_yticks([])
    if len(present) <= 20:
        axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=120, bbox_inches='tight')
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """Command line of ``tools/vis_tsne.py``."""
    parser = arguments.parser('t-SNE of the features of the test images.')
    arguments.add_network(parser)
    parser.add_argument('out', help='picture to write')
    parser.add_argument('--per-class', type=arguments.positive, default=50)
    parser.add_argument('--perplexity', type=float, default=30.0)
    args = parser.parse_args(argv)
    cfg = arguments.read_config(args)
    model = arguments.read_model(cfg, args)
    with arguments.naming_loader('test_dataloader'):
        loader = Runner.build_dataloader(cfg.test_dataloader)
    rows, labels = features(model, loader, args.per_class)
    classes = loader.dataset.metainfo['classes']
    draw(embed(rows, args.perplexity), labels, classes, args.out)
    print(f'{args.out}: {len(rows)} images')
