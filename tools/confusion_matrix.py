"""Confusion matrix of the student: MMPretrain's tool.

The teacher's with --cfg-options model.predict_with=teacher.
"""

from must_mm.runs.mmpretrain_tools import run_tool

if __name__ == '__main__':
    # it expects the metrics of one network
    run_tool(
        'analysis_tools/confusion_matrix.py',
        ['--cfg-options', 'test_cfg.type=TestLoop'],
    )
