"""Train a masked autoencoder on digits, tune it with MAE-CT, compare both."""

from must_mm.quickstart.maect import main

if __name__ == '__main__':
    main()
