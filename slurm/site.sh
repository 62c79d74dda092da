# What your machines need before Python runs. Read by every launcher, on every node: change the defaults here once for all users,
# or give a variable with one submission: sbatch --export=ALL,CODELIB_VENV=/proj/env slurm/dataset.sbatch …
# shellcheck shell=bash

: "${CODELIB_MODULES:=}"              # modules to load, e.g. "python/3.11 cuda/12.4"
: "${CODELIB_VENV:=$CODELIB/.venv}"   # the Python environment; on a file system that all nodes see
: "${CODELIB_CONTAINER:=}"            # in place of the environment, e.g. "apptainer exec --nv --bind /proj,/scratch /proj/codelib.sif":
                                      # stands before each `python`, `ray` and `vllm`. Bind what the job reads and writes; no --pid
: "${CODELIB_TMP:=/tmp}"              # a disk of the node itself, with a short path: Ray's sockets lie there, and what it spills
: "${CODELIB_INTERFACE:=}"            # network between the nodes, e.g. ib0; empty: the address that Slurm knows
: "${CODELIB_WAIT_S:=180}"            # for the Ray cluster, and for vLLM its model (ten times as long)
: "${CODELIB_PORTS:=20000-29990}"     # of the first node: each job takes ten in a row, found from its number. All others are the
                                      # system's choice: nodes of a cluster reach each other on all ports
: "${CODELIB_MAX_RESTARTS:=100}"      # how often a job may queue itself again at its time limit

# Puts `python`, `ray` and `vllm` on the PATH, or says what is missing (exit code 2).
site_environment() {
  if [ -n "$CODELIB_MODULES" ]; then
    set +u  # ray_node.sh has -u, and the modules' own code may not bear it
    type module >/dev/null 2>&1 || . /etc/profile.d/modules.sh 2>/dev/null || . /etc/profile.d/lmod.sh 2>/dev/null
    # shellcheck disable=SC2086
    module load $CODELIB_MODULES || { echo "error: module load $CODELIB_MODULES failed on $(hostname); see 'module avail'" >&2; return 2; }
  fi
  if [ -z "$CODELIB_CONTAINER" ]; then
    if [ ! -x "$CODELIB_VENV/bin/ray" ]; then
      echo "error: $CODELIB_VENV has no Python environment with Ray on $(hostname): run 'make setup' in $CODELIB, where all nodes see it," \
        "or name yours: sbatch --export=ALL,CODELIB_VENV=/path/to/env …" >&2
      return 2
    fi
    PATH="$CODELIB_VENV/bin:$PATH"
  fi
  export PATH
}
