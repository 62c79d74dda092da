# Sourced by the sbatch files: a Ray cluster on the allocation, one job on it, and everything gone at the end.
#
#   ray_cluster_run COMMAND…     the command's exit code becomes the Slurm job's
#
#   batch script (first node) ── head: ray_node.sh ── workers: srun ray_node.sh, one a node ── wait for all ── COMMAND ── stop ── [requeue]
#
# USR1 (#SBATCH --signal=B:USR1@300) is handed to the command, which leaves what going on needs and exits with 75; then the job queues
# itself again. A worker node that is lost costs what it was working on. The settings of your machines are in site.sh.
# shellcheck shell=bash

export CODELIB SLURM_EXPORT_ENV=ALL  # after `sbatch --export=NONE` srun would pass nothing on
# shellcheck source=site.sh
. "$CODELIB/slurm/site.sh"
export CODELIB_MODULES CODELIB_VENV CODELIB_CONTAINER CODELIB_TMP
folder=$CODELIB_TMP/codelib-$SLURM_JOB_ID
logs=$SLURM_SUBMIT_DIR/${SLURM_JOB_NAME//\//_}-$SLURM_JOB_ID.ray
asked='' ended='' driver='' head='' workers='' beside='' lost=''  # signals that came; process ids

say() { echo "[$(date '+%F %T')] slurm: $*"; }
error() { echo "error: $*" >&2; }

# The address by which other nodes reach this one: Slurm's own, since a host's name often means 127.0.1.1 on itself.
address_here() {
  local name found=''
  if [ -n "$CODELIB_INTERFACE" ]; then
    found=$(ip -4 -o addr show dev "$CODELIB_INTERFACE" 2>/dev/null | awk '{sub("/.*", "", $4); print $4; exit}')
    [ -n "$found" ] || error "CODELIB_INTERFACE=$CODELIB_INTERFACE: $(hostname) has no such interface with an IPv4 address (ip -br addr)"
  else
    name=$(scontrol show node -o "${SLURMD_NODENAME:-$(hostname -s)}" | grep -o 'NodeAddr=[^ ]*' | cut -d= -f2)
    found=$(getent ahostsv4 "${name:-$(hostname)}" | awk '{print $1; exit}')
    case ${found:-127.} in 127.*) found=$(hostname -I | awk '{print $1}') ;; esac
  fi
  echo "$found"
}

# The first of ten ports in a row that are free here: begun at a place that the job's number gives, so that two jobs look at different ones.
free_ports() {
  $CODELIB_CONTAINER python - "${CODELIB_PORTS%-*}" "${CODELIB_PORTS#*-}" "$SLURM_JOB_ID" "$1" <<'PY'
import socket, sys
first, last, job = map(int, sys.argv[1:4])
blocks = (last - first + 1) // 10

def free(port):
    with socket.socket() as probe:  # without SO_REUSEADDR: a port in TIME_WAIT is passed by too
        try:
            probe.bind((sys.argv[4], port))
        except OSError:
            return False
        return True

for turn in range(min(blocks, 200)):
    base = first + (job + turn * 7) % blocks * 10
    if all(free(base + number) for number in range(10)):
        print(base)
        break
else:
    sys.exit(f"error: no ten free ports in a row in CODELIB_PORTS={first}-{last}; give another range")
PY
}

# Becomes the command, marked as the job's; for a process in the background, whose id is then the command's own. The nodes' lines end
# with this script and must not stay open in it.
become() {
  [ -z "${head_line:-}" ] || exec {head_line}>&-
  [ -z "${workers_line:-}" ] || exec {workers_line}>&-
  # shellcheck disable=SC2086
  exec env CODELIB_MARK="$folder job" TMPDIR="$folder/tmp" $CODELIB_CONTAINER "$@" </dev/null
}

start_cluster() {
  local nodes=$SLURM_JOB_NUM_NODES ip port
  site_environment || return 2
  # Ray's sockets: <folder>/ray/session_<date>_<pid>/sockets/plasma_store, in at most 107 bytes
  if [ "${#folder}" -gt 38 ]; then error "CODELIB_TMP=$CODELIB_TMP: too long for Ray's sockets (at most 22 letters, e.g. /tmp)"; return 2; fi
  ip=$(address_here); [ -n "$ip" ] || return 2
  port=$(free_ports "$ip") || return 2
  mkdir -p "$logs" || { error "cannot write $logs: submit from a folder that you may write to, on a file system that all nodes see"; return 2; }
  # Ray 2.60 otherwise turns its authentication on or off by what an earlier run left in ~/.ray. In the environment, which only this user
  # can read: no argument, no file
  RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0 RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
  export ORT_DISABLE_TELEMETRY=1  # onnxruntime's: a session id in the temporary folder, and calls to its maker
  export CODELIB_CLUSTER_FIXED=1  # what does not fit into the allocation never will: a job says so in place of waiting
  export SPT_NOENV=1  # Ray's process titles would overwrite the mark by which ray_node.sh knows its own
  export PYTHONPATH="$CODELIB${PYTHONPATH:+:$PYTHONPATH}"
  unset RAY_AUTH_TOKEN_PATH RAY_ADDRESS RAY_TMPDIR

  declare -F beside_prepare >/dev/null && beside_prepare "$ip" $((port + 5))
  say "head on $(hostname) ($ip:$port), $nodes nodes, logs in $logs"
  exec {head_line}> >(exec bash "$CODELIB/slurm/ray_node.sh" head "$ip" "$port" >"$logs/head.log" 2>&1)
  head=$!
  local until=$((SECONDS + CODELIB_WAIT_S))
  until (exec 3<>"/dev/tcp/$ip/$port") 2>/dev/null; do
    [ -z "$asked$ended" ] || return 75
    kill -0 "$head" 2>/dev/null || { not_up "Ray did not start on $(hostname)"; return 1; }
    [ $SECONDS -lt $until ] || { not_up "Ray did not open $ip:$port within $CODELIB_WAIT_S s"; return 1; }
    sleep 0.2
  done
  if [ "$nodes" -gt 1 ]; then
    # --kill-on-bad-exit=0, --no-kill: one node that ends or is lost does not end the others'
    exec {workers_line}> >(exec srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --ntasks-per-node=1 --exclude="$SLURMD_NODENAME" \
      --export=ALL --mem=0 --cpu-bind=none --mpi=none --no-kill --kill-on-bad-exit=0 --unbuffered --label --output="$logs/workers.log" \
      --error="$logs/workers.log" bash "$CODELIB/slurm/ray_node.sh" worker "$ip" "$port" 2>"$logs/srun.log" {head_line}>&-)
    workers=$!
  fi
  if declare -F beside_start >/dev/null; then beside_start || return; fi
  export RAY_ADDRESS=$ip:$port
  become python "$CODELIB/slurm/wait_for.py" "${CODELIB_MIN_NODES:-$nodes}" "${CODELIB_NEED_GPUS:-0}" $((until > SECONDS ? until - SECONDS : 1)) &
  driver=$!
  # shellcheck disable=SC2086
  supervise $head $workers  # srun that ends now brings no node any more
  local code=$?
  driver=''
  [ $code = 1 ] && not_up "not all nodes joined"
  [ $code = 0 ] && touch "$folder/whole"  # from here on a head that ends takes the job with it
  return $code
}

not_up() {
  error "$1; the last lines of $logs:"
  local file
  for file in "$logs"/*.log; do
    if [ -s "$file" ]; then echo "-- $(basename "$file")"; tail -n 20 "$file"; fi
  done >&2
}

# Waits for a process however many signals come meanwhile; its exit code.
await() {
  local code
  while :; do
    wait "$1"
    code=$?
    kill -0 "$1" 2>/dev/null || return $code
  done
}

# Closes the nodes' lines and waits until each has stopped its Ray and removed its folder.
stop_cluster() {
  trap '' USR1 TERM
  if [ -n "$beside" ]; then
    kill -TERM "$beside" 2>/dev/null
    gone "$beside" 10
  fi
  # what the command and the model server left running
  # shellcheck disable=SC2046
  kill -KILL $(grep -lszxF "CODELIB_MARK=$folder job" /proc/[0-9]*/environ | cut -d/ -f3) 2>/dev/null
  if [ -n "$workers" ]; then
    exec {workers_line}>&-
    gone "$workers" 20 || kill -TERM "$workers" 2>/dev/null  # srun ends its step by force
  fi
  if [ -n "$head" ]; then
    exec {head_line}>&-
    gone "$head" 20 || kill -KILL "$head" 2>/dev/null
  fi
}

gone() {  # PID SECONDS
  for _ in $(seq $((10 * $2))); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
  return 1
}

# Waits for $driver: its exit code. Where one of the other processes ends before it, it is ended too: 1, and `lost` says so.
supervise() {  # PID…
  local other
  lost=''
  while kill -0 "$driver" 2>/dev/null; do
    for other in "$@"; do
      if ! kill -0 "$other" 2>/dev/null; then
        lost=$other
        kill -TERM "$driver" 2>/dev/null
        gone "$driver" 20 || kill -KILL "$driver" 2>/dev/null
        await "$driver"
        return 1
      fi
    done
    sleep 0.5 &
    wait $!  # and not in the foreground: a signal is handed on at once
  done
  await "$driver"
  local code=$?
  [ $code -eq 0 ] && return 0
  # a driver that lost its head may end before the head's own processes have
  for other in "$@"; do
    if gone "$other" 2; then
      lost=$other
      return 1
    fi
  done
  return $code
}

drive() {
  become "$@" &
  driver=$!
  [ -n "$asked" ] && kill -USR1 "$driver" 2>/dev/null  # it came while the command was started
  supervise "$head"
  local code=$?
  [ -z "$lost" ] || not_up "Ray's head on $(hostname) ended while the job ran"
  return $code
}

again() {
  # by task: one task of an array has the array's own number, and with it all tasks would be ended and queued anew
  local job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
  job=${job:-$SLURM_JOB_ID}
  if [ "${SLURM_RESTART_COUNT:-0}" -ge "$CODELIB_MAX_RESTARTS" ]; then
    say "paused for the ${SLURM_RESTART_COUNT}. time, CODELIB_MAX_RESTARTS: submit it again yourself, it continues"
  elif scontrol requeue "$job"; then
    say "paused, and queued again as job $job; it continues where it stopped"
  else
    say "paused; Slurm did not queue it again (above): submit the same command, it continues where it stopped"
  fi
}

ray_cluster_run() {
  say "job $SLURM_JOB_ID on $SLURM_JOB_NODELIST${SLURM_RESTART_COUNT:+, restarted $SLURM_RESTART_COUNT times}"
  trap 'asked=1; say "SIGUSR1: the time is nearly over"; [ -n "$driver" ] && kill -USR1 "$driver" 2>/dev/null' USR1
  trap 'ended=1; say "SIGTERM: ending"; [ -n "$driver" ] && kill -TERM "$driver" 2>/dev/null' TERM
  start_cluster
  local code=$?
  # a signal while it started: there is nothing to pause
  [ -z "$ended" ] || code=143
  [ -z "$asked" ] || code=75
  if [ $code = 0 ]; then
    drive "$@"
    code=$?
  fi
  # 138: killed by the signal, before the job could listen to it; nothing was done then
  if [ -n "$asked" ] && [ $code = 138 ]; then code=75; fi
  stop_cluster
  grep -hs 'Ray ended here' "$logs"/*.log  # a node that the job lost for a while; its words are in the log
  say "exit code $code"
  if [ $code = 0 ] && ! grep -qs 'Ray ended here' "$logs"/*.log; then rm -rf "$logs"; fi
  if [ $code = 75 ] && [ -n "$asked" ] && [ -z "$ended" ]; then again; fi
  exit $code
}
