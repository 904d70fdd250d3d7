#!/usr/bin/env bash
# A backup, some changes, another backup and a restore, all in a temporary folder. Ends with 0 only if what was
# restored equals what was backed up. Needs s3nap on PATH (make demo sees to that), gpg, tar and zstd.
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base=$(mktemp -d "${TMPDIR:-/tmp}/s3nap-demo.XXXXXX")
# gpg's agent has its socket there, whose path must be short
GNUPGHOME=$(mktemp -d /tmp/s3nap-gpg.XXXXXX)
export GNUPGHOME
conf=$base/s3nap.conf

clean_up() {
    gpgconf --kill all 2>/dev/null || true
    rm -rf "$base" "$GNUPGHOME"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

step() {
    printf '\n== %s\n' "$*"
}

# Show a command as one would type it, then run it.
run() {
    printf '$'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9./_=-]* | '') printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

# The values of a directive in the conf, one a line, without quotes.
values() {
    sed -n "s/^[[:space:]]*$1[[:space:]][[:space:]]*\"\{0,1\}\([^\"]*[^\"[:space:]]\).*$/\1/Ip" "$conf"
}

make_key() {
    step 'A key pair. Its public half encrypts; only who has the secret half can restore.'
    run gpg --batch --quiet --pinentry-mode loopback --passphrase '' \
        --quick-gen-key 'Demo <demo@example.com>' default default never
}

make_conf() {
    step 'The configuration'
    sed "s|@DEMO@|$base|g" "$here/demo.conf" >"$conf"
    printf '[screen]\nenabled = yes\nlevel = INFO\n' >"$base/logconfig.ini"
    if [ -z "$(values LogConfig)" ]; then
        printf '\nLogConfig %s\n' "$base/logconfig.ini" >>"$conf"
    fi
    for folder in $(values DiffDir) $(values TempDir) $(values Bucket | sed -n 's|^file://||p'); do
        mkdir -p "$folder"
    done
    grep -v -e '^[[:space:]]*#' -e '^[[:space:]]*$' "$conf"
}

make_tree() {
    step 'Something to back up: real files, and some that backup programs get wrong'
    library=$(python3 -c 'import os; print(os.path.dirname(os.__file__))')
    mkdir -p "$tree"
    cp -R "$library/json" "$library/email" "$library/logging" "$tree"
    find "$tree" -name __pycache__ -type d -prune -exec rm -rf {} +
    ln -s json/decoder.py "$tree/a symlink"
    ln "$tree/json/encoder.py" "$tree/a hard link"
    truncate -s 4M "$tree/a sparse file"
    mkdir "$tree/an empty folder"
    : >"$tree/$(printf 'a name\nof two lines')"
    echo "$(find "$tree" | wc -l) entries, $(du -sh "$tree" | cut -f1), in $tree"
}

change_tree() {
    step 'A day of work: a file is changed, one is new, one is gone, a folder has another name'
    echo '# changed' >>"$tree/json/scanner.py"
    echo 'new' >"$tree/a new file"
    rm "$tree/email/quoprimime.py"
    mv "$tree/logging" "$tree/renamed"
}

compare() {
    step 'Is what was restored what was there?'
    if run diff -r --no-dereference "$tree" "$base/restored$tree"; then
        echo 'Yes: there is no difference.'
    else
        echo 'NO: see above.' >&2
        return 1
    fi
}

make_key
make_conf
tree=$(values Directory | head -n 1)
make_tree
step 'The daily run, as cron would start it'
run s3nap -c "$conf"
change_tree
step 'The next day (--date, so that nobody need wait for it): only the changes'
run s3nap -c "$conf" --date "$(date -d tomorrow +%F)"
step 'What can be restored'
run s3nap -c "$conf" list
step 'A restore into an empty folder'
run s3nap -c "$conf" restore "$tree" --target "$base/restored"
compare
