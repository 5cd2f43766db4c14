#!/bin/sh
# tests/bench/pytorch.sh [RUN.YAML [TEXT [WORDS...]]] - tokens/s of `hanse train --local` beside the same model in PyTorch.
#
#     sh tests/bench/pytorch.sh                                                   in the build directory: examples/kjv.yaml, kjv.txt
#     sh tests/bench/pytorch.sh tests/bench/wide.yaml kjv.txt --seconds 30        a wider model; WORDS go to pytorch.py (see its --help)
#
# Both on two threads, f32, in turns on the same machine, so run it where nothing else runs.  TEXT is made as
# examples/kjv.yaml says.  HANSE names another program, PYTHON a Python that has torch already.  Otherwise a virtual environment is made
# in ./pytorch-venv: from PyTorch's own index of wheels for CPUs (200 MB) where that can be reached, else from PyPI,
# whose wheel for x86 insists on CUDA's libraries (3 GB to fetch, 5.3 GB on disk) and uses none of them here.
# torch.compile wants a C++ compiler and Python's headers; without them it is left out.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
run=${1:-$top/examples/kjv.yaml}
text=${2:-kjv.txt}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] && shift
hanse=${HANSE:-$PWD/hanse}
[ -x "$hanse" ] || { echo "$hanse: not there; run this in the build directory, or set HANSE" >&2; exit 1; }
[ -f "$text" ] || { echo "$text: not there; examples/kjv.yaml says how it is made" >&2; exit 1; }

python=${PYTHON:-$PWD/pytorch-venv/bin/python}
if ! "$python" -c 'import torch' 2>/dev/null; then
    [ -z "${PYTHON:-}" ] || { echo "$PYTHON: has no torch" >&2; exit 1; }
    python3 -m venv pytorch-venv
    "$python" -m pip install --quiet --retries 0 torch --index-url https://download.pytorch.org/whl/cpu ||
        "$python" -m pip install --quiet --no-cache-dir torch
fi
exec "$python" -W ignore "$here/pytorch.py" --hanse "$hanse" --run "$run" --data "$text" "$@"
