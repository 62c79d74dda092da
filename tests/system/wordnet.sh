#!/usr/bin/env bash
# WordNet 3.0 for METEOR, out of Debian's wordnet-base, into <repo>/.nltk_data (nothing is downloaded at run time).
#
#   /usr/share/wordnet, or the package unpacked here without installing it  ->  .nltk_data/corpora/wordnet
#
# NLTK wants plain files of its own user (no links), a `lexnames` file that Debian leaves out, and an `index.sense` that may be empty.
# Idempotent. Always exits 0 and says what it did, or why not: METEOR works without WordNet, and the report says so.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target="$here/.nltk_data/corpora/wordnet"

if [ -f "$target/index.sense" ]; then
  echo "wordnet: already in .nltk_data"
  exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
source_dir=/usr/share/wordnet
if [ ! -f "$source_dir/data.noun" ]; then
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "wordnet: not installed (no /usr/share/wordnet and no apt here); METEOR will count without synonyms"
    exit 0
  fi
  # unpacked into a scratch folder: no root needed, nothing on the system changes
  if ! (cd "$scratch" && timeout 120 apt-get -qq download wordnet-base) >/dev/null 2>&1; then
    # without package lists (a bare container) apt knows no package: fetch them, where we may
    { [ "$(id -u)" = 0 ] && timeout 120 apt-get -qq update >/dev/null 2>&1 \
      && (cd "$scratch" && timeout 120 apt-get -qq download wordnet-base) >/dev/null 2>&1; } || true
  fi
  package=$(ls "$scratch"/wordnet-base_*.deb 2>/dev/null | head -n 1)
  if [ -z "$package" ] || ! dpkg-deb -x "$package" "$scratch/unpacked"; then
    echo "wordnet: not installed (apt could not fetch wordnet-base); METEOR will count without synonyms"
    exit 0
  fi
  source_dir="$scratch/unpacked/usr/share/wordnet"
fi

# made aside and moved in one rename: a killed copy is never taken for WordNet
staging="$here/.nltk_data/.staging-$$"
rm -rf "$here"/.nltk_data/.staging-*
if ! { mkdir -p "$staging" "$here/.nltk_data/corpora" && cp -L "$source_dir"/* "$staging"/; }; then
  rm -rf "$staging"
  echo "wordnet: not installed (cannot write .nltk_data); METEOR will count without synonyms"
  exit 0
fi
number=0
for entry in adj.all:3 adj.pert:3 adv.all:4 noun.Tops:1 noun.act:1 noun.animal:1 noun.artifact:1 noun.attribute:1 noun.body:1 \
  noun.cognition:1 noun.communication:1 noun.event:1 noun.feeling:1 noun.food:1 noun.group:1 noun.location:1 noun.motive:1 \
  noun.object:1 noun.person:1 noun.phenomenon:1 noun.plant:1 noun.possession:1 noun.process:1 noun.quantity:1 noun.relation:1 \
  noun.shape:1 noun.state:1 noun.substance:1 noun.time:1 verb.body:2 verb.change:2 verb.cognition:2 verb.communication:2 \
  verb.competition:2 verb.consumption:2 verb.contact:2 verb.creation:2 verb.emotion:2 verb.motion:2 verb.perception:2 \
  verb.possession:2 verb.social:2 verb.stative:2 verb.weather:2 adj.ppl:3; do
  printf '%02d\t%s\t%s\n' "$number" "${entry%%:*}" "${entry##*:}"
  number=$((number + 1))
done >"$staging/lexnames"
: >"$staging/index.sense"
rm -rf "$target"
if mv "$staging" "$target"; then
  echo "wordnet: WordNet 3.0 copied to .nltk_data"
else
  echo "wordnet: not installed (cannot write .nltk_data); METEOR will count without synonyms"
fi
exit 0
