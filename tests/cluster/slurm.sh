#!/usr/bin/env bash
# A real SLURM of one node on loopback, in a folder of its own: no system service, no system file.
#
#   slurm.sh start DIR    start it (again: harmless); prints the lines that a shell has to export
#   slurm.sh status DIR   what runs; exit code 1 where it does not answer
#   slurm.sh stop DIR     end its jobs and daemons, whatever state they are in, and remove DIR
#
# DIR is made here and must be reachable by the user munge, such as one below /tmp. Root may use
# it and any user; only root can install the missing packages (Debian: slurm-wlm, munge).
set -euo pipefail

# What the node claims to have, whatever the machine has: enough for several jobs at once.
CPUS=8
MEMORY_MB=16000
PATIENCE_S=30
# A mark in the environment of every daemon, by which stop finds them after a crash too.
MARK=FINEVOX_TEST_SLURM

die() { echo "slurm.sh: $*" >&2; exit 2; }

[[ $# == 2 && $1 =~ ^(start|status|stop)$ ]] || die "usage: slurm.sh start|status|stop DIR"
action=$1
dir=$(realpath -m -- "$2")
[[ $dir =~ ^/[A-Za-z0-9/._-]+$ ]] || die "$dir: needs a plain name, without spaces"
# The path of a socket has room for 107 characters.
(( ${#dir} <= 80 )) || die "$dir: too long for a socket; choose a shorter name"
export PATH=$PATH:/usr/sbin:/sbin SLURM_CONF=$dir/slurm.conf

install_packages() {
  command -v munged >/dev/null && command -v slurmctld >/dev/null &&
    command -v slurmd >/dev/null && return
  (( EUID == 0 )) || die "slurm-wlm and munge are missing; install them"
  echo "slurm.sh: installing slurm-wlm and munge" >&2
  (
    # Debian starts what it installs; here nothing may run but what this script starts.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
      trap 'rm -f "$policy"' EXIT
      printf '#!/bin/sh\nexit 101\n' >"$policy"
      chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install --no-install-recommends slurm-wlm munge; } >/dev/null
  ) || die "apt-get could not install slurm-wlm and munge"
}

free_port() {
  local port
  while port=$(( 20000 + RANDOM % 10000 )); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    :
  done
  echo "$port"
}

until_true() {  # WHAT COMMAND...: until the command succeeds
  local what=$1 end=$(( SECONDS + PATIENCE_S ))
  shift
  until "$@" &>/dev/null; do
    (( SECONDS < end )) || { tail -n 5 "$dir"/*.log >&2 || true; die "$what in $PATIENCE_S s"; }
    sleep 0.1
  done
}

daemon() {  # NAME COMMAND...: in a session of its own, so that no Ctrl-C of a test reaches it
  local log=$dir/$1.log
  shift
  env "$MARK=$dir" setsid "$@" </dev/null >>"$log" 2>&1 &
}

# Daemons, and what their jobs started: jobs have the environment of whoever submitted them.
processes() {
  local proc
  for proc in /proc/[0-9]*; do
    { tr '\0' '\n' <"$proc/environ"; } 2>/dev/null | awk -v mark="$MARK=$dir" \
      -v conf="SLURM_CONF=$SLURM_CONF" '$0 == mark {ours = 1} $0 == conf {submitted = 1}
        /^SLURM_JOB_ID=/ {job = 1} END {exit !(ours || (submitted && job))}' && echo "${proc#/proc/}"
  done
  return 0
}

runs() { [[ -e $SLURM_CONF ]] && timeout 5 scontrol ping 2>/dev/null | grep -q UP; }
idle() { [[ $(timeout 5 sinfo --noheader --format=%t) =~ ^(idle|mix|alloc)$ ]]; }

write_conf() {
  local host user
  host=$(hostname -s)
  user=$(id -un)
  cat >"$SLURM_CONF" <<CONF
ClusterName=finevoxtest
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
# Nothing listens beyond loopback.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
MpiDefault=none
# Neither control groups nor a database.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# A job starts and ends within a second or two.
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0,defer_batch=0
MinJobAge=300
KillWait=2
InactiveLimit=0
Waittime=0
ReturnToService=2
SlurmdTimeout=30
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$CPUS RealMemory=$MEMORY_MB State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=60 DefMemPerCPU=$(( MEMORY_MB / CPUS )) State=UP
CONF
}

start() {
  install_packages
  if runs; then
    until_true "no node became idle" idle
  else
    stop
    mkdir -p "$dir"/{munge,state,spool}
    chmod 755 "$dir" "$dir"/*
    (umask 077; head -c 1024 /dev/urandom >"$dir/munge/key")
    local as=()
    if (( EUID == 0 )); then
      chown -R munge: "$dir/munge"
      as=(setpriv --reuid=munge --regid=munge --init-groups)
      "${as[@]}" test -w "$dir/munge" || die "$dir: out of reach of the user munge; choose another"
    fi
    write_conf
    # Everything that munged would otherwise share with one of the system.
    daemon munged "${as[@]}" munged --foreground --key-file="$dir/munge/key" \
      --socket="$dir/munge/socket" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" \
      --pid-file="$dir/munge/pid"
    until_true "munged made no socket" test -S "$dir/munge/socket"
    daemon slurmctld slurmctld -D -f "$SLURM_CONF"
    daemon slurmd slurmd -D -f "$SLURM_CONF" -N "$(hostname -s)"
    until_true "slurmctld did not answer" runs
    until_true "no node became idle" idle
  fi
  echo "export SLURM_CONF=$SLURM_CONF"
}

status() {
  runs || { echo "$dir: no SLURM answers here"; return 1; }
  scontrol ping
  sinfo
  squeue
}

stop() {
  [[ -e $dir ]] || return 0
  [[ -e $SLURM_CONF || -z $(ls -A "$dir") ]] || die "$dir: holds other things; choose another folder"
  # Kindly first: SLURM ends its jobs itself.
  if runs; then
    scancel --full --user="$(id -un)" 2>/dev/null || true
    local end=$(( SECONDS + 5 ))
    while (( SECONDS < end )) && [[ -n $(timeout 5 squeue --noheader 2>/dev/null) ]]; do sleep 0.1; done
  fi
  local signal pids
  for signal in TERM TERM TERM KILL; do
    mapfile -t pids < <(processes)
    (( ${#pids[@]} )) || break
    kill "-$signal" "${pids[@]}" 2>/dev/null || true
    sleep 0.5
  done
  rm -rf -- "$dir"
}

"$action"
