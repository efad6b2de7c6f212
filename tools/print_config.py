"""Print a whole config: MMPretrain's tool."""

from must_mm.runs.mmpretrain_tools import run_tool

if __name__ == '__main__':
    run_tool('misc/print_config.py')
