#!/bin/sh
# Build a Debian package of this checkout into a folder:  deb.sh FOLDER
# All that s3nap needs of Python comes with it, in /usr/lib/s3nap: some of it is not in Debian, and none of it is to
# meddle with what is. It is built for Debian's python3 and runs with that only; where there is none, or an old one, for
# the Python of the virtual environment, and then the package is of use on this machine alone.
#   PYTHON       of a virtual environment with s3nap and pip (default: .venv/bin/python)
#   DEB_PYTHON   the Python that the package is for
#   DEB_LEVEL    how hard to compress, 0 to 9
set -eu
umask 022

out=$1
here=$(cd "$(dirname "$0")/.." && pwd)
build=${PYTHON:-$here/.venv/bin/python}
target=${DEB_PYTHON:-/usr/bin/python3}
if ! "$target" -c 'import sys, ctypes, sqlite3, ssl; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    ! "$build" -m pip --python "$target" --version >/dev/null 2>&1; then
    target=$("$build" -c 'import sys; print(sys._base_executable)')
    echo "Debian's python3 is missing, or too old, or too new for this pip: the package is for $target" >&2
fi
python() {  # nothing that this user or this folder has is to get in
    "$build" -I "$@"
}
version=$(python -c 'import s3nap; print(s3nap.__version__)')-1
arch=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
tree=$work/tree
lib=$tree/usr/lib/s3nap
doc=$tree/usr/share/doc/s3nap
mkdir -p "$tree/DEBIAN" "$tree/usr/bin" "$lib" "$doc/examples"

# --- the program ---

extras=$(python -c 'import sys, tomllib
with open(sys.argv[1], "rb") as file:
    extras = tomllib.load(file)["project"]["optional-dependencies"]
print(",".join(extras.keys() - {"test", "lint", "bench"}))' "$here/pyproject.toml")
python -m pip --python "$target" install -qq --disable-pip-version-check --no-compile --no-warn-script-location \
    --target "$lib" "$here[$extras]"
rm -rf "$lib/bin" "$lib"/zstandard/_cffi.*   # scripts of libraries; a backend for other Pythons
find "$lib" -name __pycache__ -prune -exec rm -rf {} +
# botocore knows 400 services; here it is for S3, and for what hands out credentials
find "$lib/botocore/data" -mindepth 1 -maxdepth 1 -type d \
    ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} +
if command -v strip >/dev/null; then
    find "$lib" -name '*.so' -exec strip --strip-unneeded {} +
fi

# -I -S: only what is in the package, and no search for anything else
cat >"$tree/usr/bin/s3nap" <<END
#!$target -IS
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib", "s3nap"))

from s3nap.cli import main

main()
END

# --- what goes with it ---

mkdir -p "$tree/usr/share/man/man1" "$tree/usr/share/man/man5" "$tree/usr/share/bash-completion/completions" \
    "$tree/usr/share/zsh/vendor-completions" "$tree/usr/share/fish/vendor_completions.d"
python "$here/scripts/man.py" "$work/man"
mv "$work/man/s3nap.1" "$tree/usr/share/man/man1/"
mv "$work/man/s3nap.conf.5" "$tree/usr/share/man/man5/"
python -m s3nap completion bash >"$tree/usr/share/bash-completion/completions/s3nap"
python -m s3nap completion zsh >"$tree/usr/share/zsh/vendor-completions/_s3nap"
python -m s3nap completion fish >"$tree/usr/share/fish/vendor_completions.d/s3nap.fish"
python -m s3nap config generate >"$doc/examples/main.conf"
cp "$here/README.md" "$here"/docs/*.md "$doc/"
cp "$here/CHANGELOG.md" "$doc/changelog"
mkdir -p "$tree/etc/s3nap" "$tree/var/lib/s3nap"
cp "$here/logconfig.ini" "$tree/etc/s3nap/"
echo /etc/s3nap/logconfig.ini >"$tree/DEBIAN/conffiles"

maintainer="${DEBFULLNAME:-s3nap} <${DEBEMAIL:-s3nap@s3nap.invalid}>"
cat >"$doc/changelog.Debian" <<END
s3nap ($version) unstable; urgency=medium

  * Built from the sources; changelog.gz says what is new.

 -- $maintainer  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
END
{
    cat <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: s3nap

Files: *
Copyright: the s3nap authors
License: Apache-2.0
 On Debian systems the whole text is in /usr/share/common-licenses/Apache-2.0.
Comment:
 The libraries in /usr/lib/s3nap are other people's; the texts of their licenses
 lie in the folders *.dist-info there:
END
    sed -n 's/^Name: //p' "$lib"/*.dist-info/METADATA | grep -vx s3nap | sort | sed 's/^/  - /'
} >"$doc/copyright"
gzip -9n "$doc/changelog" "$doc/changelog.Debian" "$tree"/usr/share/man/man?/*

# --- control ---

needs="gnupg, tar (>= 1.34), zstd, libc6 (>= 2.28)"
if [ "$target" = /usr/bin/python3 ]; then
    needs="$("$target" -c 'import sys; print("python3 (>= 3.%d~), python3 (<< 3.%d)" % (sys.version_info[1],
        sys.version_info[1] + 1))'), $needs"
fi
cat >"$tree/DEBIAN/control" <<END
Package: s3nap
Version: $version
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $(du -sk --apparent-size "$tree" | cut -f1)
Depends: $needs
Recommends: xz-utils, bzip2
Suggests: default-mysql-client | mariadb-client, postgresql-client, subversion, fuse3
Section: admin
Priority: optional
Description: declarative, cycle-driven backups to S3 that restore without s3nap
 s3nap backs up directories, databases, Subversion repositories and the output
 of commands to Amazon S3, to anything that speaks S3, or to a folder, in cycles
 that a short file describes. It keeps what the cycles promise and needs no care
 in between.
 .
 Archives are encrypted to OpenPGP public keys, and each carries a shell script
 that restores it with gpg, zstd and tar alone.
END
cat >"$tree/DEBIAN/postinst" <<END
#!/bin/sh
set -e
# starts in a third of the time; where it cannot be done, it runs all the same
if [ "\$1" = configure ]; then
    $target -IS -m compileall -q -x '/(pygments|textual)/' "\${DPKG_ROOT:-}/usr/lib/s3nap" >/dev/null || true
fi
END
cat >"$tree/DEBIAN/prerm" <<END
#!/bin/sh
set -e
find "\${DPKG_ROOT:-}/usr/lib/s3nap" -name __pycache__ -type d -prune -exec rm -rf {} +
END

find "$tree" -type d -exec chmod 755 {} +
find "$tree" -type f -exec chmod 644 {} +
chmod 755 "$tree/usr/bin/s3nap" "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm"
chmod 700 "$tree/etc/s3nap" "$tree/var/lib/s3nap"  # confs say where secrets are; what is remembered has names of files
(cd "$tree" && find usr etc -type f ! -path etc/s3nap/logconfig.ini -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz "-z${DEB_LEVEL:-6}" --build "$tree" "$out/s3nap_${version}_$arch.deb" >/dev/null
echo "$out/s3nap_${version}_$arch.deb"
