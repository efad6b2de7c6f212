"""UCF101 as images: the middle frame of every video."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from .names import class_table

#: Folder of frames and the official list of videos it is made from.
LISTS = dict(train='trainlist01.txt', val='testlist01.txt')


@DATASETS.register_module()
class UCF101Frames(BaseDataset):
    """Middle frames of UCF101 by ``tools/extract_middle_frames.py``.

    ::

        data_root/train/ApplyEyeMakeup/*.jpg   9,537 frames, trainlist01
        data_root/val/ApplyEyeMakeup/*.jpg     3,783 frames, testlist01

    Args:
        data_root: Folder of the frames.
        split: ``'train'`` or ``'val'``.
        **kwargs: As for MMPretrain's :class:`BaseDataset`.

    Raises:
        ValueError: If there is no such split.
        FileNotFoundError: If the split's folder is missing.
    """

    METAINFO = dict(classes=tuple(class_table('ucf101')))

    def __init__(self, data_root: str, split: str = 'train', **kwargs) -> None:
        if split not in LISTS:
            raise ValueError(
                f'UCF101Frames.split must be one of {tuple(LISTS)}, '
                f'got {split!r}'
            )
        super().__init__(
            ann_file='',
            data_root=data_root,
            data_prefix=split,
            test_mode=split == 'val',
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """List image paths and labels, by class, then by path.

        Raises:
            FileNotFoundError: If the split's folder is missing.
        """
        folder = Path(self.img_prefix)
        if not folder.is_dir():
            raise FileNotFoundError(
                f'UCF101Frames: {folder} is missing; make it with '
                'tools/extract_middle_frames.py'
            )
        return [
            dict(img_path=str(path), gt_label=label)
            for label, name in enumerate(self.METAINFO['classes'])
            for path in sorted((folder / name).glob('*.jpg'))
        ]


def middle_frame(video: str | Path) -> np.ndarray:
    """Decode frame ``n // 2`` of a video with ``n`` frames.

    The frames are counted by decoding: headers of old AVI files err.

    Args:
        video: Path of the video.

    Returns:
        BGR image, uint8, (H, W, 3).

    Raises:
        ValueError: If no frame can be decoded.
    """
    frames = 0
    capture = cv2.VideoCapture(str(video))
    while capture.grab():
        frames += 1
    capture.release()

    capture = cv2.VideoCapture(str(video))
    for _ in range(frames // 2):
        capture.grab()
    found, image = capture.read()
    capture.release()
    if not found:
        raise ValueError(f'{video}: no frame could be decoded')
    return image


def read_list(path: str | Path) -> list[str]:
    """Read an official list: ``Class/video.avi``, a number may follow.

    Raises:
        FileNotFoundError: If there is no such list.
        ValueError: If a class is unknown.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'{path} is missing; it comes with UCF101TrainTestSplits-'
            'RecognitionTask.zip'
        )
    lines = Path(path).read_text().splitlines()
    videos = [line.split()[0] for line in lines if line.strip()]
    known = class_table('ucf101')
    for video in videos:
        if video.split('/')[0] not in known:
            raise ValueError(f'{path}: {video} is of no class of UCF101')
    return videos


def extract_middle_frames(
    videos: str | Path, lists: str | Path, out: str | Path
) -> Iterator[tuple[str, int]]:
    """Write ``out/{train,val}/Class/video.jpg``; frames there are kept.

    Args:
        videos: Folder ``UCF-101`` with one folder of videos a class.
        lists: Folder ``ucfTrainTestlist`` with the official lists.
        out: Where the frames go.

    Yields:
        Split and number of its frames, once it is complete.

    Raises:
        FileNotFoundError: If a list or a video is missing.
        ValueError: If a video cannot be decoded.
    """
    for split, file in LISTS.items():
        names = read_list(Path(lists, file))
        for name in names:
            target = Path(out, split, name).with_suffix('.jpg')
            if target.is_file():
                continue
            if not Path(videos, name).is_file():
                raise FileNotFoundError(
                    f'{Path(videos, name)} is missing, {file} lists it'
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            image = middle_frame(Path(videos, name))
            # under another name first: an interrupted run leaves no half
            half = target.with_suffix('.half.jpg')
            cv2.imwrite(str(half), image)
            half.rename(target)
        yield split, len(names)
