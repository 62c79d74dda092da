#!/usr/bin/env bash
# Chromium for the browser tests, from Debian's packages where we may install them (root and apt).
# Idempotent. Always exits 0 and says what it did, or why not: the browser tests are skipped visibly without it.
set -u
if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then
  echo "chromium: already here"
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "chromium: not installed (needs root and apt); the browser tests will be skipped"
  exit 0
fi
if { timeout 300 apt-get -qq update && DEBIAN_FRONTEND=noninteractive timeout 900 apt-get -qq -y install chromium; } >/dev/null 2>&1; then
  echo "chromium: installed"
else
  echo "chromium: apt could not install it; the browser tests will be skipped"
fi
exit 0
