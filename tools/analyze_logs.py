"""Plot curves of a log, or its training time: MMPretrain's tool."""

from must_mm.mmpretrain_tools import run_tool

if __name__ == '__main__':
    run_tool('analysis_tools/analyze_logs.py')
