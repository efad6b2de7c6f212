"""Adapts a supervised CNN to photographs of clothes, for some seeds."""

from benchmarks.photo_experiment import main

if __name__ == '__main__':
    main()
