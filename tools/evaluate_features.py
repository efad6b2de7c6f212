"""Evaluate frozen features: python tools/evaluate_features.py CONFIG CKPT"""

from must_mm.evaluation.command import main

if __name__ == '__main__':
    main()
