"""Plot curves of a log, or its training time: MMPretrain's tool."""

import sys

from must_mm.analysis.logs import check_logs
from must_mm.runs.mmpretrain_tools import run_tool

if __name__ == '__main__':
    check_logs(sys.argv[1:])
    run_tool('analysis_tools/analyze_logs.py')
