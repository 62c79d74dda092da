#!/usr/bin/env bash
# Slurm, munge, environment modules and the network tools for the cluster tests, from Debian's packages where we may install them (root and apt); no service
# of them is started. Idempotent. Always exits 0 and says what it did, or why not: the cluster tests are skipped visibly without it.
set -u
if command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v sbatch >/dev/null && command -v munged >/dev/null \
  && command -v sshd >/dev/null && command -v rsync >/dev/null && command -v ip >/dev/null && [ -r /etc/profile.d/modules.sh ]; then
  echo "slurm: already here"
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "slurm: not installed (needs root and apt); the cluster tests will be skipped"
  exit 0
fi
# in a container policy-rc.d usually forbids services; elsewhere this does, for the length of the installation
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && trap 'rm -f "$policy"' EXIT
fi
if { timeout 300 apt-get -qq update && DEBIAN_FRONTEND=noninteractive timeout 900 apt-get -qq -y install --no-install-recommends \
  slurmctld slurmd slurm-client munge openssh-server rsync iproute2 procps environment-modules; } >/dev/null 2>&1; then
  echo "slurm: installed"
else
  echo "slurm: apt could not install it; the cluster tests will be skipped"
fi
exit 0
