"""Adapts a supervised CNN to photographs of clothes, for some seeds."""

from must_mm.photos import main

if __name__ == '__main__':
    main()
