#!/bin/sh
# {title}
#
#   sh restore.sh {target_word}{then}
#
# Needs {programs}, and something that reads objects.
# FETCH    a command that writes the object whose key it is given to standard output (default: aws s3 cp, or cat)
# STORAGE  where the objects are, if they were moved (default: {storage_shown})
# KEYS     a folder of opened envelopes, <run>.keys, where the private key is not on this machine
# PASSPHRASE_FILE  the file with the passphrase, for archives that were encrypted with one
# TMPDIR   room for two chunks
set -eu
LC_ALL=C; export LC_ALL
umask 077
[ -n "${{STORAGE:-}}" ] || STORAGE={storage}
[ -n "${{ENDPOINT:-}}" ] || ENDPOINT={endpoint}

fail() {{ echo "restore.sh: $*" >&2; exit 1; }}
[ $# -eq 1 ] || fail "usage: sh restore.sh {target_word}"

fetch() {{
  if [ -n "${{FETCH:-}}" ]; then $FETCH "$1"
  else case $STORAGE in
    file://*) cat "${{STORAGE#file://}}/$1" ;;
    *) aws ${{ENDPOINT:+--endpoint-url "$ENDPOINT"}} s3 cp "$STORAGE/$1" - ;;
  esac; fi
}}

# checked KEY SHA256 FILE: fetch an object whole, or not at all
checked() {{
  fetch "$1" > "$3" || fail "$1 cannot be fetched"
  echo "$2  $3" | sha256sum -c - > /dev/null 2>&1 || fail "$1 is not what was stored (sha256): nothing of it was used"
}}

# envelope FOLDER RUN SHA256 SIZE: put the keys of an archive into $work/keys
envelope() {{
  if [ -n "${{KEYS:-}}" ]; then cp "$KEYS/$2.keys" "$work/keys" || fail "$KEYS/$2.keys is missing"; return; fi
  checked "$1keys.gpg" "$3" "$work/keys.gpg"
  if [ -n "${{PASSPHRASE_FILE:-}}" ]; then
    gpg --batch --no-tty --pinentry-mode loopback --passphrase-file "$PASSPHRASE_FILE" --decrypt "$work/keys.gpg" > "$work/keys"
  else
    gpg --decrypt "$work/keys.gpg" > "$work/keys"
  fi || fail "the envelope $1keys.gpg does not open: is the private key here?"
}}

# opened KEY SHA256 PASSPHRASE: a chunk, checked and decrypted, to standard output
opened() {{
  checked "$1" "$2" "$work/chunk"
  if [ "$3" = - ]; then cat "$work/chunk"; return; fi
  GNUPGHOME="$work/gpg" gpg --batch --no-tty --no-options --pinentry-mode loopback --passphrase-fd 3 --status-fd 4 \
    --output - --decrypt "$work/chunk" 3<<EOF 4> "$work/status" 2> "$work/said" || fail "$1: $(cat "$work/said")"
$3
EOF
  grep -q '^\[GNUPG:\] DECRYPTION_OKAY' "$work/status" && grep -q '^\[GNUPG:\] GOODMDC' "$work/status" ||
    fail "$1: gpg does not vouch for it"
}}

# chunks FOLDER ENCRYPTED: all chunks of an archive, in order, to standard output
chunks() {{
  while read -r sum name <&5; do
    pass=-
    if [ "$2" = yes ]; then
      read -r known pass hash <&6 || fail "the envelope holds no key for $name"
      [ "$known" = "$name" ] || fail "the envelope is of another archive: it holds $known, not $name"
    fi
    opened "$1$name" "$sum" "$pass" || return 1
  done 5< "$work/sums" 6< "$work/keys"
}}

# level FOLDER RUN SUMS-SHA256 CHUNKS ENCRYPTED KEYS-SHA256
level() {{
  echo "restore.sh: archive $2 ($4 chunks)" >&2
  checked "$1sums" "$3" "$work/sums"
  [ "$(wc -l < "$work/sums")" -eq "$4" ] || fail "$1sums does not list $4 chunks"
  : > "$work/keys"
  if [ "$5" = yes ]; then envelope "$1" "$2" "$6"; fi
  rm -f "$work"/ok.*
  {{ chunks "$1" "$5" && : > "$work/ok.1"; }} | {{ {decompress} && : > "$work/ok.2"; }} | {{ load && : > "$work/ok.3"; }} || :
  for stage in 1 2 3; do
    [ -e "$work/ok.$stage" ] || fail "archive $2 was not restored: what is in the target is not complete"
  done
}}

{prepare}
work=$(mktemp -d "${{TMPDIR:-/tmp}}/s3nap.XXXXXX")
mkdir "$work/gpg"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM

{levels}
echo "restore.sh: done" >&2
