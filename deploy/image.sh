#!/bin/sh
# Build the image without Docker and without a registry of images, as root, and start its server:
#
#     deploy/image.sh                 # server and worker; EXTRAS=all adds the trainer (several GB)
#
# Needs Debian's buildah (1.28 was used) and debootstrap, which makes the base. Everything happens in
# a chroot (`--isolation chroot`, vfs storage), so it also works inside a container. BUILDAH_FLAGS
# goes to `buildah build`, for a proxy's certificates and pip's settings, say.
set -eu
cd "$(dirname "$0")/.."
: "${WORK:=$(mktemp -d)}" "${EXTRAS:=server,worker}" "${SUITE:=bookworm}" "${BUILDAH_FLAGS:=}"
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
store="--root $WORK/store --runroot $WORK/run"

if [ ! -e "$WORK/base/usr/bin/python3" ]; then
    debootstrap --variant=minbase \
        --include=ca-certificates,python3,python3-pip,python-is-python3 "$SUITE" "$WORK/base"
fi
# shellcheck disable=SC2086
base=$(buildah $store from scratch)
buildah $store copy -q "$base" "$WORK/base" / > /dev/null
buildah $store config --env PIP_BREAK_SYSTEM_PACKAGES=1 "$base"
buildah $store commit -q "$base" berth-base > /dev/null
buildah $store rm "$base" > /dev/null

# shellcheck disable=SC2086
buildah $store build $BUILDAH_FLAGS --pull-never --build-arg BASE=localhost/berth-base \
    --build-arg EXTRAS="$EXTRAS" -t gpuberth:local .

# The server for real: its own program in the image, asked until it answers.
box=$(buildah $store from --pull-never gpuberth:local)
trap 'buildah $store rm "$box" > /dev/null' EXIT
buildah $store run "$box" -- sh -ec '
    export BERTH_HOME=/tmp/berth BERTH_GPUS=sim:2 BERTH_LISTEN=off
    berth up --detach
    berth run --gpus 1 "echo from the image"
    berth down
'
echo "The image gpuberth:local is in $WORK/store; its server has run a job."
