#!/usr/bin/env bash
# A real SLURM on this machine, for as long as a command runs: munge, MariaDB, slurmdbd, slurmctld, and two slurmd with
# two fake GPUs each.
#
#   tests/slurm/cluster.sh missing             the Debian packages of which something is missing; none is success
#   tests/slurm/cluster.sh install             install them
#   tests/slurm/cluster.sh run COMMAND...      start the cluster, run the command in it, end both
#   ... and within the command, what goes wrong on a cluster:
#   tests/slurm/cluster.sh controller-down | controller-up | node-down NODE | node-up NODE
#
# Needs root on Debian. `run` makes namespaces of its own for mounts, processes and the network: the machine's own
# /etc/slurm, munge and processes are never seen, and whatever is left at the end goes with the namespace.
#
# No systemd and no cgroups: processes are tracked by /proc, memory is not enforced by the kernel but watched by SLURM
# (JobAcctGatherParams=OverMemoryKill).
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # the daemons lie there, and `su` does not look there
NODES=(n1 n2)
FIRST_PORT=16820
# Every program that this script and the tests in the cluster call, by the Debian package that has it.
declare -A PROGRAMS=(
  [slurmctld]="slurmctld"
  [slurmd]="slurmd slurmstepd"
  [slurm-client]="sacct sacctmgr sbatch scancel scontrol sinfo squeue srun"
  [slurmdbd]="slurmdbd"
  [munge]="munge munged"
  [mariadb-server]="mariadbd mariadb-install-db"
  [mariadb-client]="mariadb"
  [iproute2]="ip"
  [procps]="pgrep"
  [hostname]="hostname"
  [mount]="mount"
  [util-linux]="setpriv setsid unshare"
)

fail() {
  echo "cluster.sh: $*" >&2
  exit 1
}

missing() {
  local package program
  for package in "${!PROGRAMS[@]}"; do
    for program in ${PROGRAMS[$package]}; do
      # One at a time: `command -v` of several is true when any of them is there.
      command -v "$program" >/dev/null || {
        echo "$package"
        break
      }
    done
  done
}

install() {
  local packages
  mapfile -t packages < <(missing)
  ((${#packages[@]})) || return 0
  command -v apt-get >/dev/null || fail "not here: ${packages[*]}; and there is no apt-get: this needs Debian"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
  hash -r
  mapfile -t packages < <(missing)
  ((${#packages[@]} == 0)) || fail "installed, but some of their programs are not there: ${packages[*]}"
}

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || fail "no success in time: $* (see $SLURM_DIR/log)"
    sleep 0.2
  done
}

up() { sinfo --noheader --nodes "$1" --format %T | grep -q '^\(idle\|mixed\|allocated\)$'; }

start_munge() {
  # munge refuses folders that others may write to
  chown munge:munge /run/munge
  chmod 755 /run/munge
  head --bytes 1024 /dev/urandom >"$SLURM_DIR/munge.key"
  chown munge:munge "$SLURM_DIR/munge.key"
  chmod 400 "$SLURM_DIR/munge.key"
  setpriv --reuid=munge --regid=munge --clear-groups munged --key-file="$SLURM_DIR/munge.key" --force \
    --log-file=/run/munge/log --seed-file=/run/munge/seed 2>"$SLURM_DIR/log/munged.log"
  wait_for 10 munge --no-input
}

start_accounting() {
  local db=$SLURM_DIR/mysql
  mkdir "$db"
  chown mysql:mysql "$db"
  # Temporary files of its own: another user's TMPDIR may be closed to it.
  TMPDIR=$db mariadb-install-db --user=mysql --datadir="$db/data" --auth-root-authentication-method=socket --skip-test-db \
    >"$SLURM_DIR/log/mariadb-install.log" 2>&1
  TMPDIR=$db setsid mariadbd --no-defaults --user=mysql --datadir="$db/data" --socket="$db/socket" --pid-file="$db/pid" \
    --skip-networking --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \
    >"$SLURM_DIR/log/mariadbd.log" 2>&1 </dev/null &
  wait_for 60 mariadb --socket="$db/socket" --execute 'select 1'
  mariadb --socket="$db/socket" --execute \
    'create database slurm_acct_db; create user if not exists root@localhost identified via unix_socket;'
  cat >/etc/slurm/slurmdbd.conf <<CONF
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
LogFile=$SLURM_DIR/log/slurmdbd.log
PidFile=$SLURM_DIR/slurmdbd.pid
CONF
  chmod 600 /etc/slurm/slurmdbd.conf
  # slurmdbd finds the socket through the client library's option
  MYSQL_UNIX_PORT=$db/socket MARIADB_UNIX_PORT=$db/socket slurmdbd
  wait_for 60 sacctmgr --noheader show cluster
  {
    sacctmgr --immediate add cluster lorebridge
    sacctmgr --immediate add account research Cluster=lorebridge
    sacctmgr --immediate add user root Account=research DefaultAccount=research
  } >"$SLURM_DIR/log/sacctmgr.log"
}

write_configuration() {
  local host
  host=$(hostname)
  cat >/etc/slurm/slurm.conf <<CONF
ClusterName=lorebridge
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its old credential has run out: two minutes, unless told otherwise.
AuthInfo=cred_expire=5
StateSaveLocation=$SLURM_DIR/state
SlurmdSpoolDir=$SLURM_DIR/spool-%n
SlurmctldPidFile=$SLURM_DIR/slurmctld.pid
SlurmdPidFile=$SLURM_DIR/slurmd-%n.pid
SlurmctldLogFile=$SLURM_DIR/log/slurmctld.log
SlurmdLogFile=$SLURM_DIR/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=1
GresTypes=gpu
ReturnToService=2
MinJobAge=3600
SlurmdTimeout=10
InactiveLimit=0
KillWait=5
MpiDefault=none
OverTimeLimit=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
CONF
  # A fake GPU needs an existing device file; SLURM sets CUDA_VISIBLE_DEVICES from it. The nodes claim more memory than
  # there is (config_overrides), so that no job waits for another's.
  local port=$FIRST_PORT tty=1 node
  for node in "${NODES[@]}"; do
    echo "NodeName=$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$port CPUs=2 RealMemory=128000 Gres=gpu:2" \
      >>/etc/slurm/slurm.conf
    echo "NodeName=$node Name=gpu File=/dev/tty[$tty-$((tty + 1))]" >>/etc/slurm/gres.conf
    port=$((port + 1)) tty=$((tty + 2))
  done
  local all
  all=$(IFS=, && echo "${NODES[*]}")
  # The jobs of `urgent` take the place of all others, which go back to the queue.
  cat >>/etc/slurm/slurm.conf <<CONF
PartitionName=cpu Nodes=$all Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$all MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=$all MaxTime=INFINITE State=UP PriorityTier=10
CONF
}

# In the namespaces: start all daemons, then run the command.
within() {
  ip link set lo up
  ip address add 10.0.0.1/32 dev lo # SLURM listens on no host that has 127.0.0.1 alone
  mount -t tmpfs lorebridge-slurm /etc/slurm
  mkdir -p /run/munge
  mount -t tmpfs lorebridge-munge /run/munge
  mkdir -p "$SLURM_DIR"/{state,log}
  start_munge
  write_configuration
  start_accounting
  slurmctld
  for node in "${NODES[@]}"; do slurmd -N "$node"; done
  for node in "${NODES[@]}"; do wait_for 60 up "$node"; done
  sinfo --format '%P %a %D %T %G %c %m'
  export LOREBRIDGE_SLURM=$SLURM_DIR
  local status=0
  "$@" || status=$?
  return $status
}

# The processes of SLURM's steps on a node: their keeper (slurmstepd, which has the node's log open) and all below it.
step_processes() {
  local pid keepers=() found=()
  for pid in $(pgrep --exact slurmstepd); do
    if readlink "/proc/$pid/fd/"* 2>/dev/null | grep -qx "$SLURM_DIR/log/slurmd-$1.log"; then keepers+=("$pid"); fi
  done
  while ((${#keepers[@]})); do
    found+=("${keepers[@]}")
    mapfile -t keepers < <(pgrep --parent "$(IFS=, && echo "${keepers[*]}")")
  done
  echo "${found[@]}"
}

daemon_pid() { cat "$SLURM_DIR/$1.pid"; }

gone() { ! kill -0 "$1" 2>/dev/null; }

main() {
  case ${1:?missing, install, or run COMMAND...} in
    install | run) [ "$(id -u)" = 0 ] || fail "needs root: it starts SLURM's daemons in namespaces of their own" ;;
    missing) ;;
    *) SLURM_DIR=${LOREBRIDGE_SLURM:?only within: cluster.sh run COMMAND...} ;;
  esac
  case $1 in
    missing)
      missing | sort
      [ -z "$(missing)" ]
      ;;
    install) install ;;
    run)
      shift
      [ -z "$(missing)" ] || fail "not here: $(missing | sort | paste -sd ' '): tests/slurm/cluster.sh install"
      SLURM_DIR=$(mktemp --directory --tmpdir lorebridge-slurm.XXXXXX)
      export SLURM_DIR
      chmod 755 "$SLURM_DIR"
      unshare --mount --pid --net true || fail "this machine gives no namespaces (a container without CAP_SYS_ADMIN?)"
      if unshare --mount --pid --net --fork --kill-child --mount-proc "$0" within "$@"; then
        rm --recursive --force "$SLURM_DIR"
      else
        fail "$1 failed; the daemons' logs are in $SLURM_DIR/log"
      fi
      ;;
    controller-down)
      local pid
      pid=$(daemon_pid slurmctld)
      kill "$pid"
      wait_for 20 gone "$pid"
      ;;
    controller-up)
      slurmctld
      wait_for 60 up "${NODES[0]}"
      ;;
    node-down) # as a power cut: everything on it at once
      local node=${2:?node-down NODE} pid
      pid=$(daemon_pid "slurmd-$node")
      # shellcheck disable=SC2046 # several processes
      kill -KILL "$pid" $(step_processes "$node")
      wait_for 20 gone "$pid"
      ;;
    node-up)
      slurmd -N "${2:?node-up NODE}"
      wait_for 60 up "$2"
      ;;
    *) fail "unknown command $1" ;;
  esac
}

if [ "${1:-}" = within ]; then
  shift
  within "$@"
else
  main "$@"
fi
