"""Turn a checkpoint of MUST into a plain classifier.

python tools/publish_model.py work_dirs/pets/epoch_60.pth pets.pth --teacher
"""

import argparse

from must_mm.weights.publish import export_onnx, load_published, publish


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('checkpoint', help='checkpoint of a run')
    parser.add_argument('out', help='where to; a hash is added to the name')
    parser.add_argument(
        '--teacher', action='store_true', help='the teacher, not the student'
    )
    parser.add_argument(
        '--onnx', action='store_true', help='write an ONNX file as well'
    )
    args = parser.parse_args()
    weights, config = publish(args.checkpoint, args.out, args.teacher)
    print(f'{weights}\n{config}')
    if args.onnx:
        path = weights.with_suffix('.onnx')
        error = export_onnx(load_published(weights, config), path)
        print(f'{path}: logits differ by {error:.1e} of the largest')


if __name__ == '__main__':
    main()
