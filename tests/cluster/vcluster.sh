#!/bin/bash
# A real Slurm on virtual hosts of this machine: own network, processes, mounts, host name, /tmp and /dev/shm each. Nothing of it is seen
# outside, the bridge included, which lives in the controller's namespace. Needs root and namespaces; no systemd, no cgroups.
#
#   vcluster.sh up [N] | down | exec CMD… (on the controller) | on NODE CMD… | kill NODE (power off) | start NODE
#
# VC_SHARE: the hosts' shared file system, under the same path everywhere. VC_DISK=1 with `start`: the host's /tmp is a disk, and what was in it
# before the power went is there. Each host has two GPUs, as far as Slurm knows: it counts
# them, gives them out and sets CUDA_VISIBLE_DEVICES; nothing computes on them.
set -euo pipefail
SHARE=${VC_SHARE:-/tmp/vcluster}; S=$SHARE/.slurm; P=10.77.0
CPUS=${VC_CPUS:-4}; MEM=${VC_MEM:-8000}; SHM=${VC_SHM:-1500m}
ME=$(readlink -f "$0")

ns() { nsenter -t "$(cat "$S/run/$1.pid1")" --net --pid --mount --uts --ipc --wdns="$PWD" "${@:2}"; }

node_init() {   # process 1 of a virtual host
  local name=$1; hostname "$name"
  mount --make-rprivate /
  mount -t tmpfs -o size="$SHM" tmpfs /dev/shm
  [ -n "${VC_DISK:-}" ] || rm -rf "$S/tmp.$name"
  mkdir -p "$S/tmp.$name"; chmod 1777 "$S/tmp.$name"
  # a private /tmp; SHARE and the checkout, which may lie below /tmp, stay under their own paths
  local shown=() place number=0
  for place in "$SHARE" "${CODELIB:-}"; do case $place in /tmp/*) shown+=("$place");; esac; done
  mount -t tmpfs none /mnt
  for place in "${shown[@]}"; do mkdir "/mnt/$((++number))"; mount --rbind "$place" "/mnt/$number"; done
  mount --bind "$S/tmp.$name" /tmp
  number=0
  for place in "${shown[@]}"; do mkdir -p "$place"; mount --move "/mnt/$((++number))" "$place"; done
  mount --bind "$S/hosts" /etc/hosts
  mount --bind "$S/nsswitch.conf" /etc/nsswitch.conf
  touch "$S/run/$name.mounts"
  ip link set lo up
  for _ in $(seq 100); do [ -e "$S/run/$name.net" ] && break; sleep 0.05; done
  export SLURM_CONF=$S/slurm.conf PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
  if [ "$name" = ctl ]; then slurmctld; else mkdir -p "$S/spool.$name"; slurmd; fi
  trap 'exit 0' TERM; while :; do sleep 1000 & wait $! || true; done
}

boot() {  # NAME IP
  local name=$1 ip=$2 up p c; rm -f "$S/run/$name.net" "$S/run/$name.mounts"
  setsid unshare --net --pid --fork --mount --uts --ipc --mount-proc --kill-child bash "$ME" _init "$name" </dev/null >"$S/log/boot.$name.log" 2>&1 &
  up=$!
  for _ in $(seq 200); do p=$(pgrep -P $up || true); [ -n "$p" ] && [ "$(readlink "/proc/$p/ns/net")" != "$(readlink /proc/self/ns/net)" ] && break; sleep 0.02; done
  echo "$p" > "$S/run/$name.pid1"
  if [ "$name" = ctl ]; then
    nsenter -t "$p" --net sh -c "ip link add br0 type bridge && ip addr add $ip/24 dev br0 && ip link set br0 up"
  else
    c=$(cat "$S/run/ctl.pid1")
    nsenter -t "$c" --net ip link add "v$name" type veth peer name eth0 netns "$p"
    nsenter -t "$c" --net sh -c "ip link set v$name master br0 up"
    nsenter -t "$p" --net sh -c "ip addr add $ip/24 dev eth0 && ip link set eth0 up"
  fi
  touch "$S/run/$name.net"
  # who comes before its mounts are in place finds no checkout there
  for _ in $(seq 200); do [ -e "$S/run/$name.mounts" ] && return; sleep 0.05; done
  echo "$name does not come up: $(tail -n 3 "$S/log/boot.$name.log")" >&2; return 1
}

up() {
  local n=${1:-3}; mkdir -p "$S"/{state,log,run}; chmod 755 "$S" "$S"/*
  { echo "127.0.0.1 localhost"; echo "$P.10 ctl"; for i in $(seq "$n"); do echo "$P.$((10+i)) n$i"; done; } > "$S/hosts"
  sed 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf > "$S/nsswitch.conf"; grep -q ^hosts: "$S/nsswitch.conf" || echo 'hosts: files' >> "$S/nsswitch.conf"
  (umask 077; head -c 1024 /dev/urandom > "$S/munge.key")
  munged --force --socket="$S/run/munge.socket" --key-file="$S/munge.key" --pid-file="$S/run/munged.pid" --log-file="$S/log/munged.log" --seed-file="$S/run/munged.seed"
  echo "Name=gpu File=/dev/tty[1-2]" > "$S/gres.conf"
  cat > "$S/slurm.conf" <<CONF
ClusterName=ci
SlurmctldHost=ctl
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$S/run/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$S/state
SlurmdSpoolDir=$S/spool.%n
SlurmctldPidFile=$S/run/slurmctld.pid
SlurmdPidFile=$S/run/slurmd.%n.pid
SlurmctldLogFile=$S/log/slurmctld.log
SlurmdLogFile=$S/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=10
UnkillableStepTimeout=20
MinJobAge=600
JobRequeue=1
PropagateResourceLimits=NONE
SchedulerParameters=sched_interval=2,bf_interval=2
$(for i in $(seq "$n"); do echo "NodeName=n$i CPUs=$CPUS RealMemory=$MEM Gres=gpu:2 State=UNKNOWN"; done)
PartitionName=debug Nodes=n[1-$n] Default=YES MaxTime=INFINITE State=UP
CONF
  boot ctl $P.10
  for i in $(seq "$n"); do boot "n$i" $P.$((10+i)); done
  for _ in $(seq 100); do [ "$(SLURM_CONF=$S/slurm.conf ns ctl sinfo -h -t idle -o %D 2>/dev/null || true)" = "$n" ] && break; sleep 0.2; done
  SLURM_CONF=$S/slurm.conf ns ctl sinfo -N
}

case $1 in
 _init) node_init "$2";;
 up) up "${2:-3}";;
 exec) SLURM_CONF=$S/slurm.conf ns ctl "${@:2}";;
 on) SLURM_CONF=$S/slurm.conf ns "$2" "${@:3}";;
 kill) kill -9 "$(cat "$S/run/$2.pid1")"; rm -f "$S/run/$2.net";;
 start) boot "$2" "$P.$((10+${2#n}))";;
 down) for f in "$S"/run/n*.pid1 "$S/run/ctl.pid1"; do kill -9 "$(cat "$f")" 2>/dev/null || true; done; kill "$(cat "$S/run/munged.pid")" 2>/dev/null || true;;
esac
