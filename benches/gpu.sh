#!/usr/bin/env bash
# Runs everything on a machine with an NVIDIA GPU and no Rust: bundle/ comes from `cargo xtask bundle`, which packs it into
# bundle.tar.xz too; that alone is enough.
#
#     benches/gpu.sh OUT [correct] [sanitize] [time] [warm] [knob] [bench]     default: correct sanitize time warm knob
#
# OUT gets log.txt (whatever the programs said), peers.json, warm.json, workspace.json, criterion.tar.gz and gpu.tac.gz. What was
# measured is kept in target/gpu too, so a second call on the same machine measures only what is missing. Each part ends
# by itself; these variables change how:
#
#     CORRECT_SECONDS SANITIZE_SECONDS TIME_SECONDS WARM_SECONDS KNOB_SECONDS BENCH_SECONDS    the most that a part may take
#     TACTICIAN_ONNX_SUITE   the data of the ONNX suite (docs/onnx.md), which is left out without it
#     TIME_ARGS KNOB_ARGS    options of benches/peers/gpu.py and benches/knob.py, such as "--engines tactician"
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:?a folder for results}
shift
what=${*:-correct sanitize time warm knob}
state=target/gpu
[ -d bundle ] || tar -xf bundle.tar.xz
mkdir -p "$out" "$state"
log=$out/log.txt
failed=0

part() { # SECONDS: what follows must end within so long
    deadline=$((SECONDS + $1))
}

step() { # SECONDS NAME COMMAND...: at most so long, and not beyond the part; keeps the log, goes on after a failure
    local limit=$1 name=$2 left=$((deadline - SECONDS)) rc
    shift 2
    [ "$limit" -lt "$left" ] || limit=$left
    if [ "$limit" -lt 3 ]; then
        echo "== $name: no time left for it" | tee -a "$log"
        failed=1
        return
    fi
    echo "== $name (at most $limit s): $*" | tee -a "$log"
    local start=$SECONDS
    timeout --kill-after=10 "$limit" "$@" >"$state/step.log" 2>&1
    rc=$?
    cat "$state/step.log" >>"$log"
    tail -n 12 "$state/step.log"
    case $rc in
    0) echo "== $name: passed in $((SECONDS - start)) s" ;;
    124 | 137) echo "== $name: did not end within $limit s" && failed=1 ;;
    *) echo "== $name: failed with $rc after $((SECONDS - start)) s" && failed=1 ;;
    esac | tee -a "$log"
    # The last command of a pipe runs in a shell of its own.
    [ $rc -eq 0 ] || failed=1
}

python=python3
export PYTHONUNBUFFERED=1
for w in $what; do
    case $w in
    correct)
        part "${CORRECT_SECONDS:-300}"
        step 20 devices bundle/tactician devices
        # Every test program but the long ones, which come last.
        for t in bundle/test-*; do
            case $t in
            bundle/test-tactics | bundle/test-onnx_suite) ;;
            *) step 120 "$t" env TACTICIAN_TEST_DEVICE=cuda "$t" --test-threads=1 ;;
            esac
        done
        # It has options of its own.
        [ -z "${TACTICIAN_ONNX_SUITE:-}" ] || step 240 onnx_suite bundle/test-onnx_suite --device cuda
        step 240 tactics env TACTICIAN_TEST_DEVICE=cuda bundle/test-tactics --test-threads=4
        ;;
    sanitize)
        part "${SANITIZE_SECONDS:-300}"
        check="compute-sanitizer --error-exitcode 9"
        # The vendor's kernels are theirs to check; ours are checked one and all.
        own=conv.cuda,matmul.cuda,pool.cuda,pointwise.cuda,reduce.cuda,argreduce.cuda,softmax.cuda,norm.cuda
        own=$own,resize.cuda,move.cuda,reformat.cuda,attention.cuda,recurrent.cuda,view
        # The slowest checker looks at a few tactics of each kernel whose threads share memory.
        for t in tensor_core_products recurrent_layers reductions normalisations plain_products transposes convolutions; do
            step 20 "racecheck $t" env TACTICIAN_RACE_TACTICS=2 $check --tool racecheck bundle/test-race --test-threads=1 --exact $t
        done
        step 60 synccheck $check --tool synccheck bundle/test-race --test-threads=1
        step 60 memcheck $check --tool memcheck --report-api-errors no bundle/test-gpu --test-threads=1
        # Without the tests that time the GPU or take all of its memory.
        step 60 memcheck-runtime $check --tool memcheck --report-api-errors no bundle/test-gpu_runtime \
            --test-threads=1 --skip without_waiting --skip full_memory --skip built_plan
        step 240 memcheck-tactics env TACTICIAN_TEST_DEVICE=cuda TACTICIAN_TEST_TACTICS=$own \
            $check --tool memcheck --report-api-errors no bundle/test-tactics --test-threads=4
        ;;
    time)
        limit=${TIME_SECONDS:-540}
        part "$limit"
        # shellcheck disable=SC2086  # TIME_ARGS are several words.
        step "$limit" peers $python benches/peers/gpu.py --tactician bundle/tactician --table $state/gpu.tac \
            --work $state --out $state/peers.json "$out/peers.json" --limit-seconds $((limit - 30)) ${TIME_ARGS:-}
        ;;
    warm)
        part "${WARM_SECONDS:-150}"
        step 150 warm $python benches/warm.py --tactician bundle/tactician --table $state/gpu.tac \
            --out $state/warm.json "$out/warm.json"
        ;;
    knob)
        limit=${KNOB_SECONDS:-540}
        part "$limit"
        # shellcheck disable=SC2086
        step "$limit" knob $python benches/knob.py --tactician bundle/tactician --table $state/gpu.tac \
            --work $state --out $state/workspace.json "$out/workspace.json" --limit-seconds $((limit - 30)) ${KNOB_ARGS:-}
        ;;
    bench)
        part "${BENCH_SECONDS:-180}"
        step 180 criterion env TACTICIAN_BENCH_DEVICE=cuda TACTICIAN_BENCH_TABLE=$state/gpu.tac \
            CRITERION_HOME=$state/criterion bundle/bench-tactics --bench --noplot
        [ ! -d $state/criterion ] || tar -C $state -czf "$out/criterion.tar.gz" criterion
        ;;
    *) echo "unknown part $w" >&2 && exit 2 ;;
    esac
done
[ ! -f $state/gpu.tac ] || gzip -c $state/gpu.tac >"$out/gpu.tac.gz"
exit $failed
