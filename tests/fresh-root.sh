#!/usr/bin/env bash
# The project's install steps, each in a Debian of its own that has nothing of what the step installs: what a step is for
# must not be there before it, and must be there and start after it.
#
#   tests/fresh-root.sh [STEP...]
#
# Steps: slurm (tests/slurm/cluster.sh install; then the whole cluster is started), browser (make browser; then Chromium
# opens a page), setup (make setup; then a study is planned), container (every RUN line of the Containerfile, in its order,
# in the environment of its ENV lines; then what the image starts is started). Without any: all four.
#
# Needs root and debootstrap, and a registry of Debian's: $MIRROR, by default the one on the internet. Certificates,
# apt's way to the network (proxies) and pip's settings are this machine's. Nothing is left but what failed.
set -euo pipefail
SUITE=bookworm # its Python is 3.11, which the locks are for
MIRROR=${MIRROR:-http://deb.debian.org/debian}
PROJECT=$(cd "$(dirname "$0")/.." && pwd)

fail() {
  echo "fresh-root.sh: $*" >&2
  exit 1
}

say() { echo "$(date +%T) $*"; }

make_base() {
  # `ip` is there on most machines; a step that asks for several programs at once would take it for all of them.
  debootstrap --variant=minbase --include=ca-certificates,iproute2,make "$SUITE" "$1" "$MIRROR" >"$FOLDER/debootstrap.log" ||
    fail "debootstrap failed: $FOLDER/debootstrap.log"
  cp --dereference /etc/resolv.conf /etc/hosts "$1/etc/"
  # Some registries are reached through this machine's own authority.
  rm --recursive --force "$1/etc/ssl/certs"
  cp --recursive --dereference /etc/ssl/certs "$1/etc/ssl/"
  apt-config dump | grep -E '^Acquire::(https?|Retries)' >"$1/etc/apt/apt.conf.d/this-machine" || true
}

# in_root ROOT COMMAND...: in namespaces of its own, so that whatever a package starts ends with the command
in_root() {
  local root=$1
  shift
  # shellcheck disable=SC2016 # expanded within
  unshare --mount --pid --uts --fork --kill-child bash -euc '
    hostname fresh
    mount --bind "$0" "$0" && cd "$0" # a root that is a mount: without one there are no namespaces within
    for name in /dev /sys; do mount --rbind --make-rslave "$name" "$0$name"; done
    mount -t proc proc "$0/proc"
    for folder in ${PIP_FIND_LINKS:-}; do
      [ ! -d "$folder" ] || { mkdir --parents "$0$folder" && mount --bind "$folder" "$0$folder"; }
    done
    grep --quiet fresh "$0/etc/hosts" || echo 127.0.1.1 fresh >>"$0/etc/hosts"
    exec chroot "$0" env --chdir=/lorebridge HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
  ' "$root" "$@"
}

# Each step: what must not be there before it; the step; what must work after it.
before_slurm() { ! in_root "$1" tests/slurm/cluster.sh missing >/dev/null && ! in_root "$1" sh -c 'command -v slurmctld'; }
step_slurm() { in_root "$1" tests/slurm/cluster.sh install; }
after_slurm() { in_root "$1" tests/slurm/cluster.sh missing && in_root "$1" tests/slurm/cluster.sh run sinfo; }

before_browser() { ! in_root "$1" sh -c 'command -v chromium'; }
step_browser() { in_root "$1" make browser; }
after_browser() {
  in_root "$1" chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking \
    --dump-dom 'data:text/html,<p>A page.' 2>/dev/null | grep 'A page.'
}

before_setup() { ! in_root "$1" sh -c 'command -v python3'; }
step_setup() {
  in_root "$1" sh -c 'apt-get update -qq && apt-get install -qq -y --no-install-recommends python3.11-venv >/dev/null' &&
    in_root "$1" make setup
}
after_setup() {
  # shellcheck disable=SC2016 # expanded within
  in_root "$1" sh -c 'PATH=$PWD/.venv/bin:$PATH snakemake --dry-run --quiet --configfile config/demo.yaml'
}

# The base of the image has no make, which the other steps are given.
before_container() { in_root "$1" dpkg --purge make >/dev/null && ! in_root "$1" sh -c 'command -v make || command -v git || command -v python3'; }
step_container() {
  local root=$1 instruction rest environment=()
  while read -r instruction rest; do
    case $instruction in
    ARG) environment+=("$rest") ;;
    ENV) environment+=("$(in_root "$root" sh -c "echo \"$rest\"")") ;;
    RUN) in_root "$root" env "${environment[@]}" sh -c "$rest" || return ;;
    esac
  done <"$root/lorebridge/Containerfile"
}
after_container() {
  local command
  command=$(sed -n 's/^CMD \[\(.*\)\]$/\1/p' "$1/lorebridge/Containerfile" | tr -d '",')
  # shellcheck disable=SC2086 # a list of words
  in_root "$1" env PATH=/lorebridge/.venv/bin:/usr/bin:/bin $command &&
    in_root "$1" env PATH=/lorebridge/.venv/bin:/usr/bin:/bin snakemake --dry-run --quiet --configfile config/demo.yaml
}

prove() {
  local step=$1 root=$FOLDER/$1 started=$SECONDS
  cp --archive "$FOLDER/base" "$root"
  mkdir "$root/lorebridge"
  # As a clean clone: what git ignores was made here.
  git -C "$PROJECT" ls-files -z --cached --others --exclude-standard |
    tar --directory "$PROJECT" --create --null --files-from=- | tar --directory "$root/lorebridge" --extract
  say "$step: nothing of it is there"
  "before_$step" "$root" || fail "$step: something of it is there before; nothing can be proved in $root"
  say "$step: installing"
  "step_$step" "$root" >"$FOLDER/$step.log" 2>&1 || fail "$step: the step failed: $FOLDER/$step.log"
  say "$step: installed; does it work?"
  "after_$step" "$root" || fail "$step: installed, but it does not work; see $root"
  rm --recursive --force "$root"
  say "$step: works, in $((SECONDS - started)) s"
}

[ "$(id -u)" = 0 ] || fail "needs root: it makes a root file system"
command -v debootstrap >/dev/null || fail "there is no debootstrap: apt-get install debootstrap"
unshare --mount --pid true || fail "this machine gives no namespaces (a container without CAP_SYS_ADMIN?)"
(($#)) || set -- slurm browser setup container
for step; do declare -F "step_$step" >/dev/null || fail "unknown step $step: slurm, browser, setup, container"; done
FOLDER=$(mktemp --directory --tmpdir lorebridge-fresh.XXXXXX)
say "a root file system of $SUITE in $FOLDER"
make_base "$FOLDER/base"
for step; do prove "$step"; done
rm --recursive --force "$FOLDER"
