#!/usr/bin/env bash
# A real SLURM on this machine, on loopback only: munge, MariaDB, slurmdbd, slurmctld, slurmd, and four fake GPUs.
#
#   tests/slurm/cluster.sh install | start | stop | controller-down | controller-up | node-down | node-up
#
# Needs root on Debian. No systemd and no cgroups: processes are tracked by /proc, memory is not enforced by the kernel
# but watched by SLURM (JobAcctGatherParams=OverMemoryKill). The state lies in $SLURM_DIR (default /tmp/lorebridge-slurm).
set -euo pipefail
export SLURM_DIR=${SLURM_DIR:-/tmp/lorebridge-slurm}
NODE=$(hostname -s)
GPUS=4

install() {
  command -v slurmctld slurmd slurmdbd munged mariadbd >/dev/null && return
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends slurm-wlm slurmdbd munge mariadb-server >/dev/null
}

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || { echo "cluster.sh: no success in time: $*" >&2; return 1; }
    sleep 0.2
  done
}

idle() { sinfo --noheader --format %T | grep -q '^\(idle\|mixed\|allocated\)'; }

start_munge() {
  # munge refuses folders that others may write to
  mkdir -p /run/munge
  chown munge:munge /run/munge
  chmod 755 /run/munge
  if [ ! -s /etc/munge/munge.key ]; then
    head --bytes 1024 /dev/urandom >/etc/munge/munge.key
    chown munge:munge /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
  fi
  munge --no-input >/dev/null 2>&1 || setpriv --reuid=munge --regid=munge --clear-groups munged
  wait_for 10 munge --no-input
}

start_accounting() {
  local db=$SLURM_DIR/mysql
  mkdir -p "$db"
  chown mysql:mysql "$db"
  [ -d "$db/data/mysql" ] ||
    mariadb-install-db --user=mysql --datadir="$db/data" --auth-root-authentication-method=socket --skip-test-db \
      >"$SLURM_DIR/log/mariadb-install.log" 2>&1
  setsid mariadbd --no-defaults --user=mysql --datadir="$db/data" --socket="$db/socket" --pid-file="$db/pid" \
    --skip-networking --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \
    >"$SLURM_DIR/log/mariadbd.log" 2>&1 </dev/null &
  wait_for 60 mariadb --socket="$db/socket" --execute 'select 1'
  mariadb --socket="$db/socket" --execute \
    'create database if not exists slurm_acct_db; create user if not exists root@localhost identified via unix_socket;'
  cat >"$SLURM_DIR/slurmdbd.conf" <<CONF
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
  chmod 600 "$SLURM_DIR/slurmdbd.conf"
  ln --symbolic --force "$SLURM_DIR/slurmdbd.conf" /etc/slurm/slurmdbd.conf
  # slurmdbd finds the socket through the client library's option
  MYSQL_UNIX_PORT=$db/socket MARIADB_UNIX_PORT=$db/socket slurmdbd
  wait_for 60 sacctmgr --noheader show cluster
  for entity in "cluster lorebridge" "account research Cluster=lorebridge" \
    "user root Account=research DefaultAccount=research"; do
    # shellcheck disable=SC2086 # the words of an entity are arguments
    sacctmgr --immediate --quiet add $entity >/dev/null 2>&1 || true
  done
}

write_configuration() {
  local memory=256000 # config_overrides lets the node claim more than it has, so that no job waits for another
  cat >"$SLURM_DIR/slurm.conf" <<CONF
ClusterName=lorebridge
SlurmctldHost=$NODE(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$SLURM_DIR/state
SlurmdSpoolDir=$SLURM_DIR/spool
SlurmctldPidFile=$SLURM_DIR/slurmctld.pid
SlurmdPidFile=$SLURM_DIR/slurmd.pid
SlurmctldLogFile=$SLURM_DIR/log/slurmctld.log
SlurmdLogFile=$SLURM_DIR/log/slurmd.log
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
SlurmctldTimeout=30
SlurmdTimeout=15
InactiveLimit=0
KillWait=5
MpiDefault=none
OverTimeLimit=0
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStorageTRES=gres/gpu
NodeName=$NODE NodeAddr=127.0.0.1 CPUs=8 RealMemory=$memory Gres=gpu:$GPUS State=UNKNOWN
PartitionName=cpu Nodes=$NODE Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$NODE MaxTime=INFINITE State=UP
CONF
  # A fake GPU needs an existing device file; SLURM sets CUDA_VISIBLE_DEVICES from it.
  echo "NodeName=$NODE Name=gpu File=/dev/tty[1-$GPUS]" >"$SLURM_DIR/gres.conf"
  # Steps lose SLURM_CONF from their environment, so the configuration must lie in the default place.
  mkdir -p /etc/slurm
  ln --symbolic --force "$SLURM_DIR/slurm.conf" /etc/slurm/slurm.conf
  ln --symbolic --force "$SLURM_DIR/gres.conf" /etc/slurm/gres.conf
}

stop_daemon() { # NAME
  if [ -s "$SLURM_DIR/$1.pid" ]; then
    local pid
    pid=$(cat "$SLURM_DIR/$1.pid")
    kill "$pid" 2>/dev/null || true
    wait_for 20 sh -c "! kill -0 $pid"
  fi
}

case ${1:?install, start, stop, controller-down, controller-up, node-down or node-up} in
  install) install ;;
  start)
    mkdir -p "$SLURM_DIR"/{state,spool,log}
    start_munge
    write_configuration
    start_accounting
    slurmctld
    slurmd -N "$NODE"
    wait_for 60 idle
    sinfo --format '%P %a %D %T %G %c %m'
    ;;
  stop)
    scancel --full --user root 2>/dev/null || true
    stop_daemon slurmd
    stop_daemon slurmctld
    stop_daemon slurmdbd
    [ ! -s "$SLURM_DIR/mysql/pid" ] || kill "$(cat "$SLURM_DIR/mysql/pid")" 2>/dev/null || true
    [ ! -s /run/munge/munged.pid ] || kill "$(cat /run/munge/munged.pid)" 2>/dev/null || true
    rm --force /etc/slurm/slurm.conf /etc/slurm/gres.conf /etc/slurm/slurmdbd.conf
    rm --recursive --force "$SLURM_DIR"
    ;;
  controller-down) stop_daemon slurmctld ;;
  controller-up)
    slurmctld
    wait_for 60 idle
    ;;
  node-down) pkill --signal KILL --exact slurmstepd || true; stop_daemon slurmd ;;
  node-up)
    slurmd -N "$NODE"
    wait_for 60 idle
    ;;
  *) echo "cluster.sh: unknown command $1" >&2; exit 2 ;;
esac
