# Sourced by the scripts beside it: makes an environment of the project's own.
# make_env FOLDER EXTRAS [OPTIONS of pip install ...]
make_env() {
    local folder=$1 extras=$2 python
    shift 2
    for python in ${PYTHON:-} python3 python; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
            2>/dev/null && break
        python=
    done
    if [ -z "$python" ]; then
        echo "Python 3.10 or newer is needed: PYTHON=/path/to/python $0" >&2
        exit 1
    fi
    [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
    # installed for this very checkout and this set of packages already?
    local stamp="$PWD $extras $(cat setup.py constraints.txt | cksum)"
    [ "$(cat "$folder/.must_mm" 2>/dev/null)" = "$stamp" ] && return
    echo "Installing packages into $folder (several GB, once) ..."
    "$folder/bin/python" -m pip install --quiet --upgrade pip
    "$folder/bin/python" -m pip install --quiet -c constraints.txt \
        -e ".[$extras]" "$@"
    echo "$stamp" > "$folder/.must_mm"
}
