# A model server beside the job, on its first node. Sourced by evaluate.sbatch where VLLM_MODEL is set; ray_cluster.sh calls the two functions.
# shellcheck shell=bash

# beside_prepare IP PORT: before Ray starts, so that every worker knows the address, and Ray counts the GPUs that are left.
beside_prepare() {
  vllm_ip=$1 vllm_port=$2 vllm_gpus=${CUDA_VISIBLE_DEVICES-}
  OPENAI_API_KEY=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
  export OPENAI_API_KEY VLLM_API_KEY=$OPENAI_API_KEY OPENAI_BASE_URL=http://$vllm_ip:$vllm_port/v1
  export CODELIB_SERVED=vllm:$VLLM_MODEL  # in place of the address, by which answers would be known: after a pause it is another
  if [ -n "$vllm_gpus" ]; then
    CUDA_VISIBLE_DEVICES=''
    if [ -n "${VLLM_GPUS:-}" ]; then
      CUDA_VISIBLE_DEVICES=$(cut -s -d, -f$((VLLM_GPUS + 1))- <<<"$vllm_gpus")
      vllm_gpus=$(cut -d, -f1-"$VLLM_GPUS" <<<"$vllm_gpus")
    fi
    export CUDA_VISIBLE_DEVICES
  fi
}

# Starts the server and waits until it answers. Sets `beside`, its process id.
beside_start() {
  local until=$((SECONDS + 10 * CODELIB_WAIT_S))
  say "model server for $VLLM_MODEL at $OPENAI_BASE_URL, log in $logs/vllm.log"
  # shellcheck disable=SC2086
  CUDA_VISIBLE_DEVICES=$vllm_gpus become ${VLLM_COMMAND:-vllm serve "$VLLM_MODEL"} --host "$vllm_ip" --port "$vllm_port" >"$logs/vllm.log" 2>&1 &
  beside=$!
  until answers "http://$vllm_ip:$vllm_port/health"; do
    [ -z "$asked$ended" ] || return 75
    kill -0 "$beside" 2>/dev/null || { not_up "the model server ended before it answered"; return 1; }
    [ $SECONDS -lt $until ] || { not_up "the model server did not answer within $((10 * CODELIB_WAIT_S)) s (CODELIB_WAIT_S)"; return 1; }
    sleep 1
  done
  say "the model server answers"
}

answers() { python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=5)' "$1" 2>/dev/null; }
