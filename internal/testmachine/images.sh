#!/bin/sh
# usage: images.sh SUITE...
#
# Makes the trees that testmachine.NewDebian runs: small Debian systems with
# an sshd of another release, in $LATCHKEY_CACHE/images (by default
# ~/.cache/latchkey/images). One is there completely or not at all, and is left
# alone as long as it has the packages listed here. The mirror is the one that
# this machine's apt uses. Bookworm's is one that boots: it has systemd besides,
# and what tests look with. It and trixie's have a cloud-init that does nothing
# unless told to.
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
# python3-cffi-backend is one that cloud-init needs by way of a virtual package,
# of which debootstrap knows nothing.
packages_of() {
	case $1 in
	bookworm) echo openssh-server,systemd,systemd-sysv,dbus,libpam-systemd,iproute2,strace,cloud-init,python3-cffi-backend ;;
	trixie) echo openssh-server,iproute2,cloud-init,python3-cffi-backend ;;
	*) echo openssh-server ;;
	esac
}

# list is the file in a tree that keeps what it was made of.
list=var/lib/testmachine/packages

# is_current tells whether a suite's tree is there and has what it is to have.
is_current() {
	[ "$(cat "$cache/$1/$list" 2>/dev/null)" = "$(packages_of "$1")" ]
}

# furnish finishes a tree that debootstrap has made.
furnish() {
	rm -rf "$1/var/cache/apt" "$1/var/lib/apt/lists"
	[ ! -d "$1/etc/cloud" ] || : >"$1/etc/cloud/cloud-init.disabled"
	mkdir -p "$1/${list%/*}"
	packages_of "$2" >"$1/$list"
	chmod 755 "$1"
}

# put moves a tree to its place. Who runs on the old one keeps it until then.
put() {
	[ ! -e "$cache/$2" ] || mv -T "$cache/$2" "$1.old"
	mv -T "$1" "$cache/$2"
	rm -rf --one-file-system "$1.old"
}

build() {
	suite=$1
	tree=$(mktemp -d "$cache/.$suite.XXXXXX")
	trap 'rm -rf --one-file-system "$tree" "$tree.old" "$tree.log"' EXIT
	trap 'exit 1' HUP INT TERM
	echo "making the Debian $suite tree in $cache (about a minute)" >&2
	if ! debootstrap --variant=minbase --include="$(packages_of "$suite")" "$suite" "$tree" "$url" >"$tree.log" 2>&1 </dev/null; then
		tail -n 20 "$tree.log" >&2
		echo "debootstrap of $suite failed" >&2
		exit 1
	fi
	furnish "$tree" "$suite"
	put "$tree" "$suite"
	rm -f "$tree.log"
	trap - EXIT HUP INT TERM
}

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9 # somebody else may be making the same tree
url=
for suite in "$@"; do
	! is_current "$suite" || continue
	[ -n "$url" ] || url=$(mirror)
	[ -n "$url" ] || { apt-get update -qq </dev/null; url=$(mirror); }
	[ -n "$url" ] || { echo "apt knows no Debian mirror" >&2; exit 1; }
	build "$suite"
done
