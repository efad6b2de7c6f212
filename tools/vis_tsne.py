"""t-SNE of test features: vis_tsne.py CONFIG CHECKPOINT PICTURE"""

from must_mm.analysis.tsne import main

if __name__ == '__main__':
    main()
