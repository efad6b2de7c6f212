"""Parameters and operations of the classifier: get_flops.py CONFIG"""

from must_mm.analysis.flops import main

if __name__ == '__main__':
    main()
