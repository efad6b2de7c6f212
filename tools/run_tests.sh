#!/usr/bin/env bash
# Sets up what the tests need and runs all of them: lint, formatting, the
# whole suite on the upstream engine, a short run on the OneDL engine. Says at
# its end how long each part took.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/setup_env.sh

times=() name='' begin=0
part() { # NAME: a part begins, the one before has ended
    [ -z "$name" ] ||
        times+=("$(printf '%5d s  %s' $((SECONDS - begin)) "$name")")
    name=${1-} begin=$SECONDS
}
report() {
    part
    printf '\nTime of each part, on %s cores:\n' "$(nproc)"
    printf '%s\n' "${times[@]}"
    printf '%5d s  in all\n' "$SECONDS"
}
trap report EXIT

part 'environment'
make_env .venv-test upstream,test
part 'lint, format, imports'
.venv-test/bin/python -m ruff check .
.venv-test/bin/python -m ruff format --check .
.venv-test/bin/lint-imports --no-cache
# a process per core; files stay whole, for the fixtures they share, and in
# the order of tests/conftest.py
parallel='--numprocesses=auto --maxprocesses=8 --dist=loadfile'
parallel+=' --no-loadscope-reorder'
part 'suite'
.venv-test/bin/python -m pytest $parallel "$@"

part 'environment of the OneDL engine'
make_env .venv-onedl onedl,test
# mmcv-lite asks for upstream's mmengine, which would replace OneDL's
.venv-onedl/bin/python -c 'import mmcv' 2>/dev/null ||
    .venv-onedl/bin/python -m pip install --quiet --no-deps \
        -c constraints.txt mmcv-lite
part 'short run on the OneDL engine'
.venv-onedl/bin/python -m pytest $parallel -m onedl
