#!/bin/sh
# usage: VERSION=... DIST=... FORMATS="deb rpm apk" ARCHES="amd64 arm64" package.sh
#
# Makes the packages. The same tree, version and SOURCE_DATE_EPOCH give the same
# bytes, wherever and whenever it runs.
set -eu
umask 022

cd "$(dirname "$0")/.."
GO=${GO:-go}
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.44.2

# A tree without history has the date of the first release.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1795305600)}
export SOURCE_DATE_EPOCH

mkdir -p "$DIST"
DIST=$(cd "$DIST" && pwd)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT TERM

# build ARCH: the programs. Nothing of this machine gets into them.
build() {
	CGO_ENABLED=0 GOOS=linux GOARCH=$1 "$GO" build -trimpath -buildvcs=false \
		-ldflags "-s -w -X github.com/latchkey-ssh/latchkey/cmd/internal/version.release=$VERSION -X main.release=$VERSION" \
		-o "$stage/bin/$1/" ./cmd/...
}

# stage_for ARCH FORMAT: the file tree of a package, where nfpm.yaml expects it.
stage_for() {
	init=systemd zsh=/usr/share/zsh/site-functions
	case $2 in
	deb) zsh=/usr/share/zsh/vendor-completions ;;
	apk) init=openrc ;;
	esac
	rm -rf "$stage/package"
	mkdir -p "$stage/package"
	DESTDIR=$stage/package/root PREFIX=/usr INIT=$init ZSHDIR=$zsh LATCHKEY=$stage/bin/$host/latchkey \
		packaging/install.sh install "$stage/bin/$1"
	cp -R packaging/scripts packaging/changelog.yaml packaging/lintian-overrides "$stage/package/"
	find "$stage/package" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# pack ARCH FORMAT
pack() {
	config=$PWD/packaging/nfpm.yaml
	(cd "$stage/package" && ARCH=$1 VERSION=$VERSION "$GO" run $nfpm package -f "$config" -p "$2" -t "$DIST/" >/dev/null)
}

host=$("$GO" env GOHOSTARCH)
build "$host" # its latchkey prints the completions
for arch in $ARCHES; do
	build "$arch"
	for format in $FORMATS; do
		stage_for "$arch" "$format"
		pack "$arch" "$format"
	done
done
ls "$DIST"
