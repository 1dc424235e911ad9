#!/bin/sh
# Unpacks Valkey 8.0, the oldest version Weir promises to run on, from Debian 12's backports into
# FOLDER/valkey-8.0 without installing it. Fails where apt is not Debian 12's.
set -eu
folder="$1/valkey-8.0"
[ ! -x "$folder/valkey-server" ] || exit 0

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
[ -n "$mirror" ] || { echo "apt's sources are not Debian 12's"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/root"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in bookworm bookworm-backports; do
    echo "deb [signed-by=$keyring] $mirror $suite main" >>"$work/sources.list"
done
apt() {
    apt-get -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o APT::Sandbox::User=root "$@"
}
apt update
cd "$work"
apt download -t bookworm-backports valkey-server valkey-tools libjemalloc2 liblzf1 libatomic1
for package in *.deb; do dpkg-deb -x "$package" root; done

mkdir -p out/lib
cp root/usr/bin/valkey-check-rdb out/valkey # one program with several names; by any other it is the server
cp -L root/usr/lib/*/lib*.so.* out/lib/
cat >out/valkey-server <<'EOF'
#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH="$here/lib" exec "$here/valkey" "$@"
EOF
chmod +x out/valkey-server
out/valkey-server --version
rm -rf "$folder"
mv out "$folder"
