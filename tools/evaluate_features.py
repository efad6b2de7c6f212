"""Evaluate frozen features: python tools/evaluate_features.py CONFIG CKPT"""

from must_mm.analysis.evaluate_features import main

if __name__ == '__main__':
    main()
