#!/bin/sh
# See that the programs are there which s3nap's tests or its demo run; on Debian and Ubuntu install what is missing
# where that is allowed (as root, or with a sudo that asks nothing), else say what to install and fail.
#   system-packages.sh test|demo            programs by need
#   system-packages.sh --install PACKAGE…   these packages
set -eu

# program:package, a line each
DEMO='tar:tar
gpg:gnupg
gpg-agent:gnupg
zstd:zstd'
TEST="$DEMO
xz:xz-utils
bzip2:bzip2
setfacl:acl
setfattr:attr
fusermount3:fuse3
dash:dash
svnadmin:subversion
mariadbd:mariadb-server
mariadb-dump:mariadb-server
initdb:postgresql
pg_dump:postgresql
systemd-analyze:systemd
bash:bash
groff:groff-base
dpkg-deb:dpkg"

# servers lie beside the usual PATH
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for folder in /usr/lib/postgresql/*/bin; do
    PATH=$PATH:$folder
done

missing() {
    echo "$1" | while IFS=: read -r program package; do
        command -v "$program" >/dev/null || echo "$package"
    done | sort -u | tr '\n' ' '
}

privileged() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

# No server that comes with a package is to be started: the tests start their own, in folders of their own.
forbid_services() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'privileged rm -f "$policy"' EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' | privileged tee "$policy" >/dev/null
        privileged chmod 755 "$policy"
    fi
}

install() {
    if ! may_install; then
        echo "Programs are missing, and this user may not install them. Please do, as root:" >&2
        echo "    apt-get install $*" >&2
        echo "(or what your system calls these packages)" >&2
        exit 1
    fi
    echo "Installing: $*"
    forbid_services
    privileged apt-get update -qq
    privileged env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
}

case ${1:-} in
    --install)
        shift
        install "$@"
        exit
        ;;
    demo) programs=$DEMO ;;
    test) programs=$TEST ;;
    *)
        echo "usage: $0 test|demo|--install PACKAGE…" >&2
        exit 2
        ;;
esac

packages=$(missing "$programs")
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # a list of words
    install $packages
    packages=$(missing "$programs")
    if [ -n "$packages" ]; then
        echo "Still missing after installing: $packages" >&2
        exit 1
    fi
fi
