#!/usr/bin/env bash
# Sets up what the tests need and runs all of them: lint, formatting, the
# whole suite on the upstream engine, a short run on the OneDL engine.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/setup_env.sh

make_env .venv-test upstream,test
.venv-test/bin/python -m ruff check .
.venv-test/bin/python -m ruff format --check .
.venv-test/bin/lint-imports --no-cache
# a process per core; files stay whole, for the fixtures they share
parallel='--numprocesses=auto --maxprocesses=8 --dist=loadfile'
.venv-test/bin/python -m pytest $parallel "$@"

make_env .venv-onedl onedl,test
# mmcv-lite asks for upstream's mmengine, which would replace OneDL's
.venv-onedl/bin/python -c 'import mmcv' 2>/dev/null ||
    .venv-onedl/bin/python -m pip install --quiet --no-deps \
        -c constraints.txt mmcv-lite
.venv-onedl/bin/python -m pytest $parallel -m onedl
