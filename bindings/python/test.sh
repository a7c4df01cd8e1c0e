#!/usr/bin/env bash
# The tests of the Python host: types, then everything against the wheel, in a fresh virtual environment without Rust.
# Called by `make test-python`; `bindings/python/test.sh TARGET_DIR bench` measures instead, for `make bench-python`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/python"
target=$(cd "$1" && pwd)
work=$target/python
python=${PYTHON:-python3}

# Made anew only when what it holds changes.
tools() {
    local wanted
    wanted=$(cat "$here"/requirements-*.txt | sha256sum)
    if [ "$(cat "$work/tools/wanted" 2>/dev/null)" != "$wanted" ]; then
        "$python" -m venv --clear "$work/tools"
        "$work/tools/bin/pip" install --quiet --disable-pip-version-check \
            -r "$here/requirements-test.txt" -r "$here/requirements-tools.txt"
        echo "$wanted" >"$work/tools/wanted"
    fi
}

types() {
    (cd "$here" && "$work/tools/bin/mypy" --cache-dir "$work/mypy")
}

# As `pip install bindings/python` builds it: with cargo, from the repository.
wheel() {
    rm -rf "$work/wheel" "$here/build"
    "$work/tools/bin/pip" wheel --quiet --disable-pip-version-check --no-deps -w "$work/wheel" "$here"
    ls "$work/wheel" | grep -x 'libkv-.*-py3-none-linux_.*\.whl'
}

# Nothing but the environment's own programs can be found.
alone() {
    env -i HOME="$HOME" TMPDIR="${TMPDIR:-/tmp}" LANG=C.UTF-8 ${KV_SEED:+KV_SEED=$KV_SEED} PATH="$work/fresh/bin" "$@"
}

installed() {
    "$python" -m venv --clear "$work/fresh"
    "$work/fresh/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements-test.txt" "$work"/wheel/*.whl
    if alone python -c 'import shutil, sys; sys.exit(shutil.which("cargo") is None)'; then
        echo "cargo is within reach of the tests" >&2
        exit 1
    fi
    (cd "$here/tests" && alone LIBKV_TEST_INSTALLED="$work/fresh" pytest -c "$here/pyproject.toml" --rootdir "$here" --durations=3 .)
}

# Without cargo, from a library that is there already.
prebuilt() {
    rm -rf "$here/build" "$work/prebuilt"
    mkdir "$work/prebuilt"
    "$work/tools/bin/pip" download --quiet --disable-pip-version-check --no-deps -d "$work/prebuilt" setuptools==80.9.0
    "$work/fresh/bin/pip" install --quiet --disable-pip-version-check "$work"/prebuilt/setuptools-*.whl
    alone LIBKV_LIBRARY="$work/none.so" pip wheel --quiet --no-build-isolation --no-deps -w "$work/prebuilt" "$here" \
        >"$work/prebuilt/refused" 2>&1 && exit 1
    grep -q none.so "$work/prebuilt/refused"
    alone LIBKV_LIBRARY="$target/release/libkv.so" \
        pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps -w "$work/prebuilt" "$here"
    ls "$work/prebuilt" | grep -x 'libkv-.*\.whl'
    rm -rf "$here/build"
}

bench() {
    LIBKV_LIBRARY=$target/release/libkv.so PYTHONPATH=$here "$work/tools/bin/python" "$here/bench/targets.py"
}

shift
[ $# -gt 0 ] || set -- types wheel installed prebuilt
tools
for part in "$@"; do
    echo "== Python: $part"
    "$part"
done
