#!/bin/bash
# Ray on one node of the allocation, for as long as its standard input stays open.
#
#   ray_node.sh head IP PORT    |    ray_node.sh worker IP PORT
#
# Input that ends (the batch script closed it, or is dead) or SIGTERM: Ray stops here, and the node's folder goes. A worker whose
# raylet was killed starts it again, three times; the head too, until the cluster was whole once. It ends the Ray of this job's folder
# and no other: never `ray stop`.
set -uo pipefail
# shellcheck source=site.sh
. "$CODELIB/slurm/site.sh"
role=$1 ip=$2 port=$3
folder=$CODELIB_TMP/codelib-$SLURM_JOB_ID
ray='' open=''

say() { echo "[$(date +%T)] $(hostname) $role: $*"; }

# How many CPUs Slurm gave the job on this node: `16(x3),8` counts the nodes in the order of their list.
cpus_here() {
  local place=0 index part count times
  index=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | grep -nxF "${SLURMD_NODENAME:-$(hostname -s)}" | cut -d: -f1)
  for part in ${SLURM_JOB_CPUS_PER_NODE//,/ }; do
    count=${part%%(*} times=1
    [[ $part == *"(x"* ]] && times=${part##*(x} times=${times%)}
    place=$((place + times))
    if [ "$place" -ge "${index:-1}" ]; then echo "$count"; return; fi
  done
  echo "${SLURM_CPUS_ON_NODE:-1}"
}

# What Slurm lets the job see here, less the GPUs that a model server took (CUDA_VISIBLE_DEVICES is narrowed then).
gpus_here() {
  local devices=${CUDA_VISIBLE_DEVICES-unset}
  case $devices in
    unset) echo "${SLURM_GPUS_ON_NODE:-0}" ;;
    "" | NoDevFiles) echo 0 ;;
    *) tr ',' '\n' <<<"$devices" | grep -c . ;;
  esac
}

# Megabytes of the job on this node: --mem, --mem-per-cpu or --mem-per-gpu; where Slurm does not count memory, its share by CPUs.
memory_mb() {
  local have all
  have=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
  all=$(nproc --all)
  local mb=$((have * 8 * cpus / (all > cpus ? all : cpus) / 10))
  if [ "${SLURM_MEM_PER_NODE:-0}" -gt 0 ]; then mb=$SLURM_MEM_PER_NODE
  elif [ "${SLURM_MEM_PER_CPU:-0}" -gt 0 ]; then mb=$((SLURM_MEM_PER_CPU * cpus))
  elif [ "${SLURM_MEM_PER_GPU:-0}" -gt 0 ]; then mb=$((SLURM_MEM_PER_GPU * (gpus > 0 ? gpus : 1))); fi
  echo $((mb < have ? mb : have))
}

# Ray's processes of this job here carry its mark in their environment.
mine() { grep -lszxF "CODELIB_MARK=$folder" /proc/[0-9]*/environ | cut -d/ -f3; }

# Folders that jobs of this user left here because they ended too fast for their own clean-up: the host lost power, Slurm's KillWait was
# over. A process that lives and is of the folder's job keeps it; after a power cut another one may have its number. A folder without a
# number is one that is being made, or that was for an hour.
sweep() {
  local old pid
  for old in "$CODELIB_TMP"/codelib-[0-9]*; do
    [[ ${old##*/codelib-} =~ ^[0-9]+$ && -d $old && -O $old && ! -L $old ]] || continue
    if ! pid=$(cat "$old/pid" 2>/dev/null) && [ -z "$(find "$old" -maxdepth 0 -mmin +60)" ]; then continue; fi
    if ! grep -qszxF "SLURM_JOB_ID=${old##*-}" "/proc/${pid:-none}/environ"; then rm -rf "$old"; fi
  done
}

stop() {
  trap '' TERM INT HUP
  [ -n "$ray" ] && kill -TERM "$ray" 2>/dev/null
  [ -n "$open" ] && kill "$open" 2>/dev/null
  for _ in $(seq 20); do [ -z "$(mine)" ] && break; sleep 0.1; done
  for _ in $(seq 20); do
    # shellcheck disable=SC2046
    kill -KILL $(mine) 2>/dev/null || break
    sleep 0.1
  done
  for _ in $(seq 10); do rm -rf "$folder" 2>/dev/null; [ -e "$folder" ] || break; sleep 0.2; done
}

# The last words of Ray's own processes; on a node that did not come up nothing else says why.
last_words() {
  local file
  for file in "$folder"/ray/session_latest/logs/{gcs_server.out,gcs_server.err,raylet.out,raylet.err}; do
    if [ -s "$file" ]; then echo "-- $(basename "$file")"; tail -n 8 "$file"; fi
  done
}

start_ray() {
  local where=(--address="$ip:$port")
  if [ "$role" = head ]; then
    where=(--head --node-ip-address="$ip" --port="$port" --ray-client-server-port=$((port + 1)) --include-dashboard=false)
  fi
  # ports that are 0 are chosen by the system, so that two jobs on one node never meet
  # shellcheck disable=SC2086
  env CODELIB_MARK="$folder" TMPDIR="$folder/tmp" $CODELIB_CONTAINER ray start "${where[@]}" --temp-dir="$folder/ray" --num-cpus="$cpus" --num-gpus="$gpus" \
    --memory="$memory" --object-store-memory="$store" --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0 \
    --disable-usage-stats --block </dev/null {line}<&- &
  ray=$!
}

site_environment || exit 2
# each worker and each connection takes files; Slurm passes on the login shell's limit, often 1,024
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)" 2>/dev/null
# where the disk that Python lies on is slow or the node busy, Ray's own limits (30 s, 60 s) are too short for its processes' imports
export RAY_agent_register_timeout_ms=$((1000 * CODELIB_WAIT_S)) RAY_worker_register_timeout_seconds=$CODELIB_WAIT_S
cpus=$(cpus_here) gpus=$(gpus_here) mb=$(memory_mb)
# three tenths of the memory for the object store, which lives in /dev/shm; a tenth stays with Ray's own processes and the driver
free=$(df -Pk /dev/shm | awk 'NR == 2 {print int($4 / 1024 * 0.9)}')
store=$((mb * 3 / 10)); store=$(((store < free ? store : free) * 1048576)); memory=$((mb * 1048576 * 6 / 10))
if [ "$store" -lt 80000000 ]; then
  say "error: $mb MB of memory and ${free} MB free in /dev/shm leave no room for Ray's object store; ask for more with --mem-per-cpu (2G in all at least)"
  exit 2
fi
# Ray looks at the memory of the whole machine, which other jobs may fill: on a part of it Slurm alone watches over this job's
if [ "$mb" -lt "$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)" ]; then
  export RAY_memory_monitor_refresh_ms=${RAY_memory_monitor_refresh_ms-0}
fi

sweep
rm -rf "$folder" 2>/dev/null
if ! mkdir -m 700 "$folder" "$folder/tmp"; then
  say "error: cannot make $folder: CODELIB_TMP must be a disk of the node that you may write to"
  exit 2
fi
echo $$ >"$folder/tmp/pid" && mv "$folder/tmp/pid" "$folder/pid"  # whole at once: another job may be looking
# not at the shell's death alone: Slurm asks with SIGTERM and kills some seconds later
trap stop EXIT
trap 'exit 143' TERM INT HUP
say "$cpus CPUs, $gpus GPUs, $mb MB (object store $((store / 1048576)) MB), $folder"

exec {line}<&0  # a background job would get /dev/null for its input
cat <&"$line" >/dev/null &
open=$!
for attempt in 1 2 3 4; do
  start_ray
  wait -n "$ray" "$open"
  code=$?
  kill -0 "$open" 2>/dev/null || exit 0
  say "Ray ended here (exit code $code)"
  last_words
  if [ "$attempt" = 4 ] || [ -e "$folder/whole" ]; then exit 1; fi
  # shellcheck disable=SC2046
  kill -KILL $(mine) 2>/dev/null
  sleep 2
  say "starting it again, for the ${attempt}. time"
done
