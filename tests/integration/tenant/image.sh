#!/bin/sh
# Makes the tenant's image on a host, of that host's own Python and busybox. usage: image.sh NAME (beside it: server.py, kinds.py)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/app" "$root/etc" "$root/tmp" "$root/root" "$root/data/deep/er"
chmod 1777 "$root/tmp"
ln -s usr/bin "$root/bin"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
python=$(readlink -f /usr/bin/python3)
tar -C / --exclude=__pycache__ --exclude=test --exclude=ensurepip --exclude=config-3* -cf - \
    "${python#/}" "usr/lib/${python##*/}" | tar -C "$root" -xf -
ln -s "${python##*/}" "$root/usr/bin/python3"
for library in $(ldd "$python" /usr/lib/"${python##*/}"/lib-dynload/*.so | grep -o '/[^ ]*\.so[^ ]*' | grep -v lib-dynload | sort -u); do
    target=$(readlink -f "$(dirname "$library")")
    mkdir -p "$root$target"
    cp -L "$library" "$root$target/"
done
mkdir -p "$root/usr/lib64"
[ -e "$root/usr/lib64/ld-linux-x86-64.so.2" ] || cp -L /lib64/ld-linux-x86-64.so.2 "$root/usr/lib64/" 2>/dev/null || true
cp -L "$(command -v busybox)" "$root/usr/bin/busybox"
for applet in $("$root/usr/bin/busybox" --list); do
    [ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
cp "$here/server.py" "$here/kinds.py" "$root/app/"
for name in kept changed deleted; do echo "of the image" >"$root/data/$name"; done
for name in one two; do echo "of the image" >"$root/data/deep/$name"; echo "of the image" >"$root/data/deep/er/$name"; done
tar -C "$root" -cf - . | docker import --change 'CMD ["/usr/bin/python3", "/app/server.py"]' \
    --change 'ENV PYTHONDONTWRITEBYTECODE=1' - "$1" >/dev/null
