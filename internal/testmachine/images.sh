#!/bin/sh
# usage: images.sh SUITE...
#
# Makes the trees that testmachine.NewDebian runs: small Debian systems with
# an sshd of another release, in $LATCHKEY_CACHE/images (by default
# ~/.cache/latchkey/images). A tree that is there is left alone; one is there
# completely or not at all. The mirror is the one that this machine's apt uses.
# Bookworm's is one that boots: it has systemd besides.
set -eu

cache=${LATCHKEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latchkey}/images

# mirror prints the address that apt has the Debian archive from, and not the
# one of its security updates, which is another archive.
mirror() {
	# shellcheck disable=SC2016 # apt-get expands these
	apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(SUITE)' |
		awk '$1 == "Debian" && $2 !~ /security/ { print $2; exit }'
}

# packages_of prints what a suite's tree has besides the smallest system.
packages_of() {
	case $1 in
	bookworm) echo openssh-server,systemd,systemd-sysv,dbus,libpam-systemd ;;
	*) echo openssh-server ;;
	esac
}

build() {
	suite=$1
	tree=$(mktemp -d "$cache/.$suite.XXXXXX")
	trap 'rm -rf --one-file-system "$tree" "$tree.log"' EXIT
	trap 'exit 1' HUP INT TERM
	echo "making the Debian $suite tree in $cache (about a minute)" >&2
	if ! debootstrap --variant=minbase --include="$(packages_of "$suite")" "$suite" "$tree" "$url" >"$tree.log" 2>&1 </dev/null; then
		tail -n 20 "$tree.log" >&2
		echo "debootstrap of $suite failed" >&2
		exit 1
	fi
	rm -rf "$tree/var/cache/apt" "$tree/var/lib/apt/lists"
	chmod 755 "$tree"
	# Somebody else may have been faster: then theirs is as good.
	mv -T "$tree" "$cache/$suite" 2>/dev/null || rm -rf --one-file-system "$tree"
	rm -f "$tree.log"
	trap - EXIT HUP INT TERM
}

mkdir -p "$cache"
url=
for suite in "$@"; do
	[ ! -d "$cache/$suite" ] || continue
	[ -n "$url" ] || url=$(mirror)
	[ -n "$url" ] || { apt-get update -qq </dev/null; url=$(mirror); }
	[ -n "$url" ] || { echo "apt knows no Debian mirror" >&2; exit 1; }
	build "$suite"
done
