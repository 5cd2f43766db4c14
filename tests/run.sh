#!/bin/sh
# tests/run.sh - from a fresh checkout on Debian 12 or Ubuntu 22.04 and later to one line of results.
#
#     tests/run.sh [--quick] [--no-install] [STAGE...]
#
# Installs what is missing, then builds with gcc and runs every test; builds and tests again under AddressSanitizer
# and UBSan; builds with clang and runs the tests of numbers; builds an expert without and with all optimization and
# asks for the same bits; builds for 64-bit Arm and tests under qemu; builds, installs and uninstalls from the tarball;
# lets libFuzzer search each decoder for a few seconds.  These stages are called gcc, sanitize, clang, optimize, arm, dist
# (which needs gcc's) and fuzz; --quick is gcc alone.  Two go on at a time where none is named, for many a test only waits.
# Builds stay in build-*/, so a second run is short.  The last line but one tells the seconds of each stage, the last line
# counts: "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.." || exit 1
cores=$(nproc 2>/dev/null || echo 2)
jobs=$((cores + 1)) # some tests wait for clocks
fuzz_seconds=2
took=
n_passed=0 n_failed=0 n_skipped=0
stages=
may_install=yes
lane=${HANSE_LANE:-} # where a part of a run leaves its counts
unset HANSE_LANE
for option; do
    case $option in
    --quick) stages=gcc ;;
    --no-install) may_install=no ;;
    gcc | sanitize | clang | optimize | arm | dist | fuzz) stages="$stages $option" ;;
    *)
        echo "usage: tests/run.sh [--quick] [--no-install] [gcc|sanitize|clang|optimize|arm|dist|fuzz]..." >&2
        exit 64
        ;;
    esac
done

finish() {
    if [ -n "$lane" ]; then
        echo "$n_passed $n_failed $n_skipped $took" >"$lane"
        exit
    fi
    # A run that tested nothing has not shown that anything works.
    [ $n_passed -eq 0 ] && [ $n_failed -eq 0 ] && n_failed=1
    echo
    [ -n "$took" ] && echo "seconds:$took"
    echo "$n_passed passed, $n_failed failed, $n_skipped skipped"
    [ $n_failed -eq 0 ] || exit 1
    exit "$1"
}
trap 'finish $?' EXIT
trap 'exit 130' INT TERM

say() { printf '\n== %s\n' "$*"; }
stage() { # name
    started=$(date +%s)
    "$1_stage"
    took="$took $1 $(($(date +%s) - started))"
}
# Each list of stages by a run of this script, in a session of its own that can be ended whole.
together() { # lists of stages
    counts=$(mktemp -d) || exit 1
    lanes=
    for list; do
        [ $may_install = yes ] || list="$list --no-install"
        # shellcheck disable=SC2086  # a list of words
        HANSE_LANE="$counts/${list%% *}" setsid tests/run.sh $list &
        lanes="$lanes -$!"
    done
    # shellcheck disable=SC2064,SC2086  # lists of words
    trap "kill -- $lanes; wait; rm -rf '$counts'; exit 130" INT TERM
    wait
    trap 'exit 130' INT TERM
    for list; do
        read -r passed failed skipped seconds <"$counts/${list%% *}" || {
            passed=0 failed=1 skipped=0 seconds=
            echo "FAILED: came to no end: $list"
        }
        n_passed=$((n_passed + passed)) n_failed=$((n_failed + failed)) n_skipped=$((n_skipped + skipped))
        took="$took $seconds"
    done
    rm -rf "$counts"
}
passed() { n_passed=$((n_passed + 1)); }
skipped() {
    n_skipped=$((n_skipped + 1))
    echo "skipped: $1"
}
failed() { # what, log, command that repeats it
    n_failed=$((n_failed + 1))
    echo "FAILED: $1"
    [ -f "$2" ] && tail -n 40 "$2" | sed 's/^/    /'
    echo "repeat: $3"
}

# ---- what must be there

# configure.ac knows the libraries: HANSE_NEED([NAME], [module], [Debian package])
libraries=$(sed -n 's/^HANSE_NEED(\[[A-Z0-9]*\], *\[\([^]]*\)\], *\[\([^]]*\)\]).*/\2:\1/p' configure.ac)
missing=
need_command() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need_module() { pkg-config --exists "$1" 2>/dev/null || missing="$missing $2"; }

list_missing() {
    missing=
    need_command gcc gcc
    need_command make make
    need_command autoreconf autoconf
    need_command automake automake
    need_command xz xz-utils
    need_command pkg-config pkg-config
    [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
    while IFS=: read -r package module; do
        need_module "$module" "$package"
    done <<LIST
$libraries
LIST
    need_module 'check >= 0.15' check
}

# The stage of Arm: package:what it brings.
arm_needs='gcc-aarch64-linux-gnu:/usr/bin/aarch64-linux-gnu-gcc qemu-user:/usr/bin/qemu-aarch64
    libc6-dev-arm64-cross:/usr/aarch64-linux-gnu/include/stdio.h'

# Each opens a part of the tests that is skipped without it (g++: CUDA's kernels over the emulation).
list_wanted() {
    missing=
    need_command git git
    need_command clang clang
    need_command clang-format-14 clang-format-14
    need_command g++ g++
    need_command mpicc mpich
    need_command mpicc libmpich-dev
    need_module openblas libopenblas-dev
    need_command ip iproute2
    need_command unshare util-linux
    need_command openssl openssl
    need_command transmission-daemon transmission-daemon
    need_command transmission-remote transmission-cli
    need_command aria2c aria2
    /usr/bin/python3 -c 'import libtorrent' 2>/dev/null || missing="$missing python3-libtorrent"
    for pair in $arm_needs; do
        [ -e "${pair#*:}" ] || missing="$missing ${pair%%:*}"
    done
}

install() { # packages...
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            echo "not root and no sudo here; as root: apt-get install $*" >&2
            return 1
        }
        sudo=sudo
    fi
    echo "installing with apt-get, because the build or its tests need them: $*"
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    $sudo apt-get -q -y -o DPkg::Lock::Timeout=120 install "$@" >/tmp/hanse-apt.$$ 2>&1
    status=$?
    [ $status -ne 0 ] && tail -n 5 /tmp/hanse-apt.$$ >&2
    rm -f /tmp/hanse-apt.$$
    return $status
}

prepare() {
    list_missing
    [ "${CI:-}" = true ] && { needed=$missing; list_wanted; wanted=$missing; missing=$needed; } || wanted=
    [ -z "$missing$wanted" ] && return 0
    if [ $may_install = no ] || ! command -v apt-get >/dev/null; then
        [ -z "$missing" ] && return 0
        echo "missing; on Debian or Ubuntu: apt-get install$missing" >&2
        return 1
    fi
    if [ "$(id -u)" -eq 0 ]; then apt-get -q update >/dev/null 2>&1; else sudo apt-get -q update >/dev/null 2>&1; fi
    # shellcheck disable=SC2086  # a list of words
    [ -z "$missing" ] || install $missing || return 1
    for package in $wanted; do
        install "$package" || echo "going on without $package"
    done
}

# ---- building and testing

# Before anything is built: two builds at a time must not both find that it is due.
autogen() {
    [ -f configure ] && [ -z "$(find . -path './build*' -prune -o \( -name '*.am' -o -name configure.ac \) -newer configure -print)" ] &&
        return
    mkdir -p build-gcc
    ./autogen.sh >build-gcc/autogen.out 2>&1 || {
        failed "autogen.sh" build-gcc/autogen.out "./autogen.sh"
        return 1
    }
}

# Configures $1 once for the given arguments, and again when they change or configure does.
configure() { # directory, arguments...
    directory=$1
    shift
    mkdir -p "$directory"
    if [ -f "$directory/Makefile" ] && [ "$(cat "$directory/configured-with" 2>/dev/null)" = "$*" ]; then
        return 0
    fi
    if (cd "$directory" && ../configure "$@") >"$directory/configure.out" 2>&1; then
        echo "$*" >"$directory/configured-with"
    else
        failed "configure" "$directory/configure.out" "mkdir -p $directory && cd $directory && ../configure $*"
        return 1
    fi
}

build() { # directory, targets...
    directory=$1
    shift
    if make -C "$directory" -j "$jobs" "$@" >"$directory/make.out" 2>&1; then
        passed
    else
        grep -E 'error|warning' "$directory/make.out" | head -n 20
        failed "make $* in $directory" "$directory/make.out" "make -C $directory $*"
        return 1
    fi
}

# Adds up a directory's results: the checks of a Check program one by one, any other test as one.
count() { # directory
    find "$1" -name '*.trs' | sort | while IFS= read -r trs; do
        log=${trs%.trs}.log
        result=$(sed -n 's/^:test-result: *\([A-Z]*\).*/\1/p' "$trs" | head -n 1)
        awk -v result="$result" '
            /^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+/ {
                gsub(/,/, "")
                bad += $5 + $7
                good += $3 - $5 - $7
                n += $3
            }
            END {
                if (result == "SKIP") print 0, 0, 1
                else if (result == "PASS" || result == "XFAIL") print n ? good : 1, bad, 0
                else print good + 0, bad ? bad : 1, 0
            }' "$log"
    done | awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }'
}

try() { # directory, make's target (with what it needs), arguments...
    directory=$1 target=$2
    shift 2
    find "$directory" -name '*.trs' -exec rm -f {} +
    # shellcheck disable=SC2086  # a list of words
    make -C "$directory" -j "$jobs" -k $target TESTS_ENVIRONMENT="$PWD/tests/alone" "$@" >"$directory/check.out" 2>&1
    echo $? >"$directory/check.status"
}

tell() { # directory, the target that was tried
    directory=$1 target=$2
    status=$(cat "$directory/check.status")
    # shellcheck disable=SC2046  # three words
    set -- $(count "$directory")
    n_passed=$((n_passed + $1)) n_skipped=$((n_skipped + $3))
    echo "$1 passed, $2 failed, $3 skipped in $directory"
    if [ "$2" -gt 0 ]; then
        n_failed=$((n_failed + $2 - 1)) # failed() counts the last
        trs=$(find "$directory" -name '*.trs' -exec grep -lE '^:test-result: *(FAIL|ERROR|XPASS)' {} + | sort)
        for one in $trs; do
            name=${one#"$directory"/}
            echo "${name%.trs}:"
            tail -n 30 "${one%.trs}.log" | sed 's/^/    /'
        done
        # shellcheck disable=SC2086  # a list of words
        failed "tests" none "make -C $directory $target TESTS='$(echo $trs | sed "s|$directory/||g; s|\.trs||g")'"
    elif [ "$status" -ne 0 ]; then
        grep -E ': (fatal )?error' "$directory/check.out" | head -n 20
        failed "make $target in $directory" "$directory/check.out" "make -C $directory $target"
    fi
}

check() { # as try
    try "$@"
    tell "$1" "$2"
}

only_run='check-TESTS check_PROGRAMS= check_LIBRARIES=' # what is built

# The tests of a build, one a line, the longest ahead, so that none of them is what the rest has to wait for.
long_first() { # directory
    make -s -C "$1" list-tests | awk '
        /test_expert_digest|test_trainer|test_dht_swarm|_emulated|test_product_i8|test_model_trunk|test_node_host_request/ ||
        /cmd\/test_(bits|bench|device|dht|sim|train).sh|test_sim_dht/ { print; next }
        { rest = rest $0 "\n" }
        END { printf "%s", rest }'
}

gcc_stage() {
    say "gcc: build with every warning an error, run every test"
    # shellcheck disable=SC2005,SC2046  # lines into words
    configure build-gcc CC=gcc --enable-werror CFLAGS=-O2 CXXFLAGS=-O2 && build build-gcc all && check build-gcc check TESTS="$(echo $(long_first build-gcc))"
    spills
}

# Where there is nvcc, ptxas says which kernels are too large for the registers.
spills() {
    grep -q '^#define HAVE_CUDA' build-gcc/config.h 2>/dev/null || {
        skipped "the registers of CUDA's kernels, for want of nvcc"
        return
    }
    say "registers: no product kernel keeps sums in memory, on any GPU"
    build build-gcc check-spills
    tail -n 1 build-gcc/make.out
}

sanitize_stage() {
    say "sanitizers: AddressSanitizer and UBSan, every test again but the longest on emulated machines"
    configure build-sanitize CC=gcc --enable-sanitize --without-cuda --without-mpi 'CFLAGS=-O1 -g1' 'CXXFLAGS=-O1 -g1' &&
        build build-sanitize all || return
    # Their source is in other tests as well: test_product_i8, test_device_*, and the played twin of the trainer.
    # test_bits.sh and test_device.sh ask whether bits are the same, with commands that test_train.sh uses too.  tidy only
    # reads sources.
    tests=$(long_first build-sanitize | grep -v -e test_trainer_device_emulated -e test_expert_digest_emulated -e test_amx_emulated \
        -e test_bits.sh -e test_device.sh -e tests/tidy)
    # Sanitizers take their time, and tests share the cores.
    CK_EXCLUDE_TAGS="slow large" CK_TIMEOUT_MULTIPLIER=20
    export CK_EXCLUDE_TAGS CK_TIMEOUT_MULTIPLIER
    # shellcheck disable=SC2086  # a list of words
    check build-sanitize check TESTS="$(echo $tests)"
    unset CK_EXCLUDE_TAGS CK_TIMEOUT_MULTIPLIER
}

clang_stage() {
    say "clang: build with every warning an error, test that the numbers are the same"
    command -v clang >/dev/null || {
        skipped "the clang build, for want of clang (apt-get install clang)"
        return
    }
    configure build-clang CC=clang --enable-werror --without-cuda CFLAGS=-O2 CXXFLAGS=-O1 && build build-clang all || return
    # GPUs' kernels are compiled by nvcc: that clang compiles their emulation too is enough, gcc's has been tested.
    numbers=$(long_first build-clang | grep -v -e 'device.*_emulated' -e digest_emulated |
        grep -E '^tests/(kernels|golden)/|^tests/unit/test_(base|kernel|ref|expert|model)')
    # shellcheck disable=SC2086  # a list of words
    check build-clang check TESTS="$(echo $numbers)"
}

# Debian's libraries for Arm, unpacked into $1 without the system's packages noticing.
fetch_arm_libraries() { # directory, packages...
    root=$1
    shift
    [ "$(cat "$root/packages" 2>/dev/null)" = "$*" ] && return 0
    [ $may_install = yes ] && command -v apt-get >/dev/null || return 1
    rm -rf "$root"
    mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial" "$root/debs"
    : >"$root/apt/status"
    cat >"$root/apt/conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::State "$root/apt";
Dir::State::status "$root/apt/status";
Dir::Cache "$root/apt";
CONF
    APT_CONFIG=$root/apt/conf apt-get -q update >"$root/apt.out" 2>&1 # one source without Arm does no harm
    (cd "$root/debs" && APT_CONFIG=$root/apt/conf apt-get -q download "$@") >>"$root/apt.out" 2>&1 || return 1
    for deb in "$root"/debs/*.deb; do
        dpkg -x "$deb" "$root" || return 1
    done
    echo "$*" >"$root/packages"
}

arm_stage() {
    say "arm: build for 64-bit Arm, test under qemu that the numbers are the same"
    for needed in $arm_needs; do
        [ -e "${needed#*:}" ] || {
            skipped "the Arm build, for want of ${needed#*:} (apt-get install ${needed%%:*})"
            return
        }
    done
    root=$PWD/build-arm/root
    # shellcheck disable=SC2046  # a list of words
    fetch_arm_libraries "$root" $(echo "$libraries" | cut -d : -f 1) check libsubunit-dev || {
        [ -f "$root/apt.out" ] && grep '^E:' "$root/apt.out"
        skipped "the Arm build, for want of libraries: the sources of apt must offer them for arm64"
        return
    }
    configure build-arm --build="$(gcc -dumpmachine)" --host=aarch64-linux-gnu --enable-werror \
        --without-cuda --without-mpi --without-openblas CFLAGS=-O2 CXXFLAGS=-O1 LOG_COMPILER=qemu-aarch64 \
        PKG_CONFIG_LIBDIR="$root/usr/lib/aarch64-linux-gnu/pkgconfig" \
        CPPFLAGS="-isystem $root/usr/include -isystem $root/usr/include/aarch64-linux-gnu" \
        LDFLAGS="-static -L$root/usr/lib/aarch64-linux-gnu" || return
    # Keys are OpenSSL's affair, and they and threads are slow under qemu.
    numbers=$(long_first build-arm | grep -v -e test_base_key -e test_parallel -e test_expert_share -e _emulated -e '\.sh$' |
        grep -E '^tests/(kernels|golden)/|^tests/unit/test_(base|expert|checkpoint_expert)')
    # shellcheck disable=SC2086  # a list of words
    build build-arm $numbers || return
    CK_EXCLUDE_TAGS=slow CK_TIMEOUT_MULTIPLIER=20 QEMU_CPU=max
    export CK_EXCLUDE_TAGS CK_TIMEOUT_MULTIPLIER QEMU_CPU
    # shellcheck disable=SC2086
    check build-arm "$only_run" TESTS="$(echo $numbers)"
    QEMU_CPU=cortex-a72 # without products of int8
    check build-arm "$only_run" TESTS=tests/kernels/test_linear
    unset CK_EXCLUDE_TAGS CK_TIMEOUT_MULTIPLIER QEMU_CPU
}

optimize_stage() {
    say "optimization: -O0 and -O3 of each compiler, the same digest of a thousand updates"
    digest=tests/golden/test_expert_digest
    built=
    for cc in gcc clang; do
        command -v $cc >/dev/null || {
            skipped "-O0 and -O3 of $cc, which is not here (apt-get install $cc)"
            continue
        }
        for level in -O0 -O3; do
            # Which warnings are given depends on the level; the other stages have asked for none.
            configure build-$cc$level CC=$cc --without-cuda --without-mpi --without-openblas "CFLAGS=$level" &&
                build build-$cc$level $digest && built="$built build-$cc$level"
        done
    done
    # One program each, so all at once.  Threads are the same code at any level: the other stages have seen them.
    for directory in $built; do
        (export CK_EXCLUDE_TAGS=slow && try "$directory" "$only_run" TESTS=$digest) &
    done
    wait
    for directory in $built; do
        tell "$directory" "$only_run"
    done
}

dist_stage() {
    say "tarball: build outside its tree, install, uninstall, leave nothing behind"
    [ -f build-gcc/Makefile ] || {
        skipped "the tarball, for want of the gcc stage's build-gcc"
        return
    }
    # The tests have run; here they only have to build.  -O0 for the same reason.
    if make -C build-gcc -j "$jobs" distcheck TESTS=tests/tidy XZ_OPT=-0 \
        DISTCHECK_CONFIGURE_FLAGS='CFLAGS=-O0 CXXFLAGS=-O0 --without-cuda' >build-gcc/distcheck.out 2>&1; then
        passed
    else
        failed "distcheck" build-gcc/distcheck.out "make -C build-gcc distcheck TESTS=tests/tidy"
    fi
}

# Leaves libFuzzer's words and status beside what it found.
fuzz() { # target
    found=build-fuzz/corpus/${1##*/}
    given=tests/fuzz/corpus/${1##*/}
    mkdir -p "$found"
    [ -d "$given" ] || given=
    # shellcheck disable=SC2086  # none or one directory
    "build-fuzz/$1" -max_total_time=$fuzz_seconds -timeout=20 -rss_limit_mb=2048 -max_len=4096 \
        -artifact_prefix="$found-" "$found" $given >"$found.out" 2>&1
    echo $? >"$found.status"
}

fuzz_stage() {
    say "fuzzing: $fuzz_seconds s for each decoder"
    echo 'int LLVMFuzzerTestOneInput(const char *p, long n); int LLVMFuzzerTestOneInput(const char *p, long n) { return !p && n; }' |
        clang -fsanitize=fuzzer -x c -o /dev/null - 2>/dev/null || {
        skipped "fuzzing, for want of clang with libFuzzer (apt-get install clang)"
        return
    }
    configure build-fuzz CC=clang --enable-fuzz --without-cuda --without-mpi 'CFLAGS=-O2 -g1' && build build-fuzz fuzz || return
    n=0
    targets=$(make -s -C build-fuzz list-fuzz)
    for target in $targets; do # one for each core, until their time is over
        fuzz "$target" &
        n=$((n + 1))
        [ $((n % cores)) -ne 0 ] || wait
    done
    wait
    for target in $targets; do
        found=build-fuzz/corpus/${target##*/}
        if [ "$(cat "$found.status")" = 0 ]; then
            passed
        else
            failed "${target##*/}" "$found.out" "build-fuzz/$target $(ls -t "$found"-* 2>/dev/null | head -n 1)"
        fi
    done
}

if [ -n "$lane" ]; then
    jobs=$cores
else
    say "what the build needs"
    prepare && autogen || exit 1
fi
if [ -n "$stages" ]; then
    for name in $stages; do
        stage "$name"
    done
else
    together "gcc dist arm fuzz" "sanitize clang optimize"
fi
exit 0
