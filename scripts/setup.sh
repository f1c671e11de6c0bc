#!/bin/sh
# Makes .venv hold exactly what requirements.lock says, and installs what is missing for that:
# uv (into .tools) and libopus (by apt). Run by `make`; safe to run again.
#
# With the argument `cluster` or `media` also what that extra needs: Ray, a few hundred MB, or PyAV,
# 106 MB with codecs under the GPL.
# With `wheel FILE FOLDER` instead: FOLDER becomes an environment of that wheel, with what the wheel
# itself asks for, in the versions of the lock.
#
# TORCH_BUILD=cpu|default overrides the choice of torch: on Linux without an NVIDIA GPU the CPU
# build is preferred, since the default build brings several GB of CUDA libraries with it.
# UV_PYTHON=3.13 (or a path) chooses the Python of a new .venv, as it does for uv itself.
set -eu
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9      # installed when there is no uv
UV_OLDEST=0.9          # an installed uv older than this is left alone and not used
LOCK=requirements.lock
EXTRA=${1:-}
WHEEL=
VENV=.venv
if [ "$EXTRA" = wheel ]; then
    WHEEL=$2
    VENV=$3
fi
PYTHON=$VENV/bin/python

say() { printf 'setup: %s\n' "$*" >&2; }

# apt_install PACKAGE...: by apt where that needs no question answered; fails otherwise.
apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true >/dev/null 2>&1; then
        as_root="sudo -n"
    else
        return 1
    fi
    say "installing $* by apt"
    $as_root apt-get update -qq || true    # a stale list may still know the package
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "$@" >/dev/null
}

# new_enough UV: whether this uv runs and is not older than UV_OLDEST.
new_enough() {
    version=$("$1" --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$version" ] &&
        [ "$(printf '%s\n%s\n' "$UV_OLDEST" "$version" | sort -V | head -n1)" = "$UV_OLDEST" ]
}

find_uv() {
    for UV in uv "${HOME:-}/.local/bin/uv" .tools/bin/uv; do
        if new_enough "$UV"; then return 0; fi
    done
    if ! python3 -m pip --version >/dev/null 2>&1; then
        apt_install python3-pip || true
    fi
    say "installing uv $UV_VERSION into .tools"
    if PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check \
        --upgrade --target .tools "uv==$UV_VERSION" && new_enough .tools/bin/uv; then
        UV=.tools/bin/uv
        return 0
    fi
    say "uv >= $UV_OLDEST is needed and could not be installed with python3 -m pip."
    say "Install it (https://docs.astral.sh/uv/getting-started/installation/), then repeat."
    exit 1
}

right_python() {
    "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

make_environment() {
    right_python && return 0
    say "making $VENV"
    "$UV" venv --quiet --clear --python "${UV_PYTHON:->=3.11,<3.14}" "$VENV"
    right_python && return 0
    say "UV_PYTHON: expected Python 3.11, 3.12 or 3.13, got '$UV_PYTHON'"
    exit 2
}

# locked NAME: the version that the lock pins.
locked() { sed -n "s/^$1==\([^ ;]*\).*/\1/p" "$LOCK"; }

has_nvidia_gpu() {
    [ -e /proc/driver/nvidia/version ] || [ -e /usr/lib/wsl/lib/nvidia-smi ] ||
        nvidia-smi -L 2>/dev/null | grep -q GPU
}

wants_cpu_torch() {
    case "${TORCH_BUILD:-}" in
        cpu) return 0 ;;
        default) return 1 ;;
        "") [ "$(uname -s)" = Linux ] && ! has_nvidia_gpu ;;
        *) say "TORCH_BUILD: expected cpu or default, got '$TORCH_BUILD'"; exit 2 ;;
    esac
}

installed_torch() {
    "$PYTHON" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null
}

# install_cpu_torch: the CPU build of the locked version, from the folders that pip's own
# configuration names (find-links), else from where uv knows it to be.
install_cpu_torch() {
    torch=$(locked torch)
    [ "$(installed_torch)" = "$torch+cpu" ] && return 0
    say "installing torch $torch, CPU build (about 190 MB)"
    links=${PIP_FIND_LINKS:-$(python3 -m pip config get global.find-links 2>/dev/null || true)}
    for link in $links; do
        "$UV" pip install --python "$PYTHON" --quiet --no-deps --no-index --find-links "$link" \
            "torch==$torch+cpu" 2>/dev/null && return 0
    done
    "$UV" pip install --python "$PYTHON" --no-deps --torch-backend=cpu \
        "torch==$torch" "torchaudio==$(locked torchaudio)" && return 0
    say "no CPU build of torch could be had: installing the default build, several GB"
    return 1
}

# without_cuda: those packages without what only the default build of torch on Linux needs.
without_cuda() {
    awk '/^[A-Za-z0-9]/ { drop = /^(nvidia-|cuda-|triton==)/ } !drop'
}

# locked_packages: the lock, as far as it is asked for.
locked_packages() {
    awk -v extra="$EXTRA" '/^# What the extra / { other = $5 != extra } !other' "$LOCK"
}

install_packages() {
    if wants_cpu_torch && install_cpu_torch; then
        locked_packages | without_cuda
    else
        case "$(installed_torch)" in
            *+cpu | "") say "installing torch $(locked torch) with CUDA: about 3 GB" ;;
        esac
        case "$(installed_torch)" in
            *+cpu) "$UV" pip uninstall --python "$PYTHON" --quiet torch torchaudio ;;
        esac
        locked_packages
    fi >.venv/requirements.txt
    say "installing the packages of $LOCK"
    "$UV" pip install --python "$PYTHON" --quiet --require-hashes --no-deps -r .venv/requirements.txt
    "$UV" pip install --python "$PYTHON" --quiet --no-deps --editable .
}

# drop_torchaudio_that_fails: its default build does not load beside the CPU build of torch, and
# transformers fails on one that does not load. Nothing here needs it.
drop_torchaudio_that_fails() {
    "$PYTHON" -c 'import torchaudio' 2>/dev/null && return 0
    "$UV" pip uninstall --python "$PYTHON" --quiet torchaudio 2>/dev/null || true
    say "torchaudio does not load beside this torch and was left out"
}

# install_wheel: what the wheel asks for is installed, not what the lock holds.
install_wheel() {
    if wants_cpu_torch; then install_cpu_torch || true; fi
    say "installing $WHEEL"
    "$UV" pip install --python "$PYTHON" --quiet --constraint "$LOCK" "$WHEEL"
}

find_libopus() {
    "$PYTHON" -c 'import opuslib' 2>/dev/null && return 0
    apt_install libopus0 && "$PYTHON" -c 'import opuslib' 2>/dev/null && return 0
    say "libopus is missing: PCM works, OPUS will be refused. To have OPUS:"
    case "$(uname -s)" in
        Darwin) say "    brew install opus" ;;
        *) say "    sudo apt-get update && sudo apt-get install -y libopus0" ;;
    esac
}

find_uv
make_environment
if [ -n "$WHEEL" ]; then
    install_wheel
else
    install_packages
    drop_torchaudio_that_fails
fi
find_libopus
say "done"
