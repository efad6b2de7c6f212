"""Write the middle frame of every UCF101 video, by the official lists.

python tools/extract_middle_frames.py UCF-101 ucfTrainTestlist data/ucf101
"""

import argparse

from must_mm.datasets.ucf101 import extract_middle_frames

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('videos', help='folder with a folder a class')
    parser.add_argument('lists', help='folder with trainlist01.txt, ...')
    parser.add_argument('out', help='where train/ and val/ go')
    args = parser.parse_args()
    for split, frames in extract_middle_frames(
        args.videos, args.lists, args.out
    ):
        print(f'{split}: {frames} frames in {args.out}/{split}')
