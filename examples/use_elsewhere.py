"""The adapted classifier in another project, in three ways.

python examples/use_elsewhere.py adapted/model-1a2b3c4d.pth photo.jpg

The file is what ``must-adapt`` or ``tools/publish_model.py`` left, its config
beside it; ``.onnx`` too, if it was asked for. CLIP's vision transformers need
nothing of must_mm then; the ONNX file needs no PyTorch, either.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image


def with_mmpretrain(weights: Path, image: str) -> str:
    """MMPretrain's inferencer: from a file to a class name."""
    from mmpretrain import ImageClassificationInferencer

    classify = ImageClassificationInferencer(
        str(weights.with_suffix('.py')), str(weights), device='cpu'
    )
    return classify(image)[0]['pred_class']


def pixels(image: str, config: Config) -> np.ndarray:
    """Prepare an image as the config says: (1, 3, S, S), normalised.

    Raises:
        ValueError: If the config prepares images in another way.
    """
    _, resize, *rest = config.test_dataloader.dataset.pipeline
    if resize.type != 'ResizeEdge' or rest[0].type != 'CenterCrop':
        raise ValueError('images are not resized and cropped: see the config')
    picture = Image.open(image).convert('RGB')
    scale = resize.scale / min(picture.size)
    size = [int(side * scale) for side in picture.size]
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    side = rest[0].crop_size
    left, top = (max(0, round((extent - side) / 2)) for extent in size)
    picture = picture.crop((left, top, left + side, top + side))
    colours = config.model.data_preprocessor
    normal = (np.asarray(picture) - colours.mean) / colours.std
    return normal.transpose(2, 0, 1)[None].astype(np.float32)


def with_onnx(weights: Path, image: np.ndarray) -> np.ndarray:
    """ONNX Runtime: logits (1, K), without PyTorch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        weights.with_suffix('.onnx'), providers=['CPUExecutionProvider']
    )
    return session.run(['logits'], {'images': image})[0]


def with_torch(weights: Path, image: np.ndarray) -> np.ndarray:
    """Plain PyTorch: an ``nn.Module``, exported for where only torch is."""
    from mmpretrain import get_model

    model = get_model(str(weights.with_suffix('.py')), str(weights)).eval()
    images = torch.from_numpy(image)
    program = weights.with_suffix('.pt2')
    torch.export.save(torch.export.export(model, (images,)), program)
    # from here on, and in another process, torch is all it takes
    loaded = torch.export.load(program).module()
    with torch.no_grad():
        return loaded(images).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('weights', type=Path)
    parser.add_argument('image')
    args = parser.parse_args()
    config = Config.fromfile(args.weights.with_suffix('.py'))
    content = torch.load(args.weights, weights_only=True)
    classes = content['meta']['dataset_meta']['classes']
    image = pixels(args.image, config)

    print('MMPretrain:', with_mmpretrain(args.weights, args.image))
    print('PyTorch:', classes[with_torch(args.weights, image).argmax()])
    if args.weights.with_suffix('.onnx').is_file():
        print('ONNX:', classes[with_onnx(args.weights, image).argmax()])


if __name__ == '__main__':
    main()
