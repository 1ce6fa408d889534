#!/bin/sh
# Makes an image of this host's own Python and server.py, and pushes it. usage: image.sh REPOSITORY/NAME:TAG < server.py
set -eu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/usr/bin" "$root/usr/lib/x86_64-linux-gnu" "$root/usr/lib64" "$root/app" "$root/tmp"
for name in bin lib lib64; do ln -s "usr/$name" "$root/$name"; done
python=$(readlink -f /usr/bin/python3)
library="usr/lib/${python##*/}"
tar -C / --exclude=__pycache__ --exclude=test --exclude=idlelib --exclude=ensurepip --exclude='config-3*' -cf - \
    "${python#/}" "$library" | tar -C "$root" -xf -
ln -s "${python##*/}" "$root/usr/bin/python3"
for object in $(ldd "$python" "/$library"/lib-dynload/_socket*.so | grep -o '/[^ ]*\.so[^ :]*' | grep -v lib-dynload | sort -u); do
    place="$root$(readlink -f "$(dirname "$object")")"
    mkdir -p "$place"
    cp -L "$object" "$place/"
done
cat >"$root/app/server.py"
tar -C "$root" -cf - . | docker import --change 'ENV PYTHONDONTWRITEBYTECODE=1' \
    --change 'CMD ["/usr/bin/python3", "/app/server.py"]' - "$1" >/dev/null
docker push --quiet "$1"
