"""Draw both views and the mask: browse_dataset.py CONFIG FOLDER"""

from must_mm.analysis.browse import main

if __name__ == '__main__':
    main()
