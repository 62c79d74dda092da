# A model server beside the job, on its first node. Sourced by evaluate.sbatch where VLLM_MODEL is set; ray_cluster.sh calls beside_ray
# before Ray starts, so that all workers know the address.
# shellcheck shell=bash

# beside_ray IP PORT: starts the server and waits until it answers. Sets `beside`, its process id.
beside_ray() {
  local ip=$1 port=$2 mine=${CUDA_VISIBLE_DEVICES-} until=$((SECONDS + 10 * CODELIB_WAIT_S))
  OPENAI_API_KEY=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
  export OPENAI_API_KEY VLLM_API_KEY=$OPENAI_API_KEY OPENAI_BASE_URL=http://$ip:$port/v1
  if [ -n "$mine" ] && [ -n "${VLLM_GPUS:-}" ]; then
    mine=$(cut -d, -f1-"$VLLM_GPUS" <<<"$CUDA_VISIBLE_DEVICES")
    CUDA_VISIBLE_DEVICES=$(cut -s -d, -f$((VLLM_GPUS + 1))- <<<"$CUDA_VISIBLE_DEVICES")
    export CUDA_VISIBLE_DEVICES
  elif [ -n "$mine" ]; then
    export CUDA_VISIBLE_DEVICES=''
  fi
  say "model server for $VLLM_MODEL at $OPENAI_BASE_URL, log in $logs/vllm.log"
  # shellcheck disable=SC2086
  CUDA_VISIBLE_DEVICES=$mine become ${VLLM_COMMAND:-vllm serve "$VLLM_MODEL"} --host "$ip" --port "$port" >"$logs/vllm.log" 2>&1 &
  beside=$!
  until answers "http://$ip:$port/health"; do
    [ -z "$asked$ended" ] || return 75
    kill -0 "$beside" 2>/dev/null || { not_up "the model server ended before it answered"; return 1; }
    [ $SECONDS -lt $until ] || { not_up "the model server did not answer within $((10 * CODELIB_WAIT_S)) s (CODELIB_WAIT_S)"; return 1; }
    sleep 1
  done
  say "the model server answers"
}

answers() { python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=5)' "$1" 2>/dev/null; }
