#!/usr/bin/env bash
# Runs everything on a machine with an NVIDIA GPU and no Rust: bundle/ comes from `cargo xtask bundle`.
#
#     benches/gpu.sh OUT [correct] [sanitize] [time]     default: all three
#
# Writes logs and JSON results into the folder OUT.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:?a folder for results}
shift
mkdir -p "$out"
what=${*:-correct sanitize time}
failed=0

step() { # NAME COMMAND...: keeps the log, goes on after a failure
    local name=$1
    shift
    echo "== $name: $*"
    "$@" >"$out/$name.log" 2>&1
    local rc=$?
    tail -n 12 "$out/$name.log"
    [ $rc -eq 0 ] || { echo "$name failed with $rc"; failed=1; }
}

for w in $what; do
    case $w in
    correct)
        step devices bundle/tactician devices
        step gpu bundle/test-gpu --test-threads=1
        step gpu-runtime bundle/test-gpu_runtime --test-threads=1
        step gpu-fault bundle/test-gpu_fault
        step cudnn bundle/test-cudnn --test-threads=1
        step gpu_host bundle/test-gpu_host --test-threads=1 --nocapture
        step host bundle/test-host --nocapture
        step tactics env TACTICIAN_TEST_DEVICE=cuda bundle/test-tactics --test-threads=4
        ;;
    sanitize)
        # The vendor's kernels are theirs to check; ours are checked one and all.
        export TACTICIAN_TEST_DEVICE=cuda
        own=conv.cuda,matmul.cuda,pool.cuda,pointwise.cuda,reduce.cuda,argreduce.cuda,softmax.cuda,norm.cuda
        export TACTICIAN_TEST_TACTICS=$own,resize.cuda,move.cuda,reformat.cuda,view
        step memcheck compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 9 bundle/test-gpu --test-threads=1
        # Without the tests that time the GPU or take all of its memory.
        step memcheck-runtime compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 9 \
            bundle/test-gpu_runtime --test-threads=1 --skip without_waiting --skip full_memory --skip built_plan
        step memcheck-tactics compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 9 bundle/test-tactics --test-threads=4
        step racecheck-tactics compute-sanitizer --tool racecheck --error-exitcode 9 bundle/test-tactics \
            --test-threads=4 matrix_products pools reductions normalisations
        unset TACTICIAN_TEST_TACTICS
        ;;
    time)
        step peers python3 benches/peers/gpu.py --tactician bundle/tactician --table "$out/gpu.tac" \
            --out "$out/gpu-peers.json"
        ;;
    *) echo "unknown part $w" >&2 && exit 2 ;;
    esac
done
exit $failed
