#!/bin/sh
# Make a virtual environment in $1, unless a working one is there. PYTHON, if set, is the Python to use.
set -eu

venv=$1
here=$(dirname "$0")

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$python"; then
            echo "$python"
            return
        fi
    done
    cat >&2 <<END
s3nap needs Python 3.11 or newer; ${PYTHON:-python3} is missing or older. Install one, for example:
    Debian 12, Ubuntu 24.04 or newer:  apt-get install python3 python3-venv
    Ubuntu 22.04:                      apt-get install python3.11 python3.11-venv
or name one: make PYTHON=/path/to/python3.12 …
END
    return 1
}

if new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi
python=$(find_python)
rm -rf "$venv"

# Debian and Ubuntu ship venv without the part that puts pip into it.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if command -v virtualenv >/dev/null; then
        exec virtualenv --quiet --python "$python" "$venv"
    fi
    "$here/system-packages.sh" --install "$package"
fi
"$python" -m venv "$venv"
