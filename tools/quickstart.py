"""Train a tiny CLIP, adapt it with MUST, show what was gained."""

from must_mm.quickstart.run import main

if __name__ == '__main__':
    main()
