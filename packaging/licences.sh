#!/bin/sh
# usage: licences.sh PACKAGE...
#
# Prints the licences of the Go modules that the packages link, and of Go.
set -eu

GO=${GO:-go}

# modules prints name and folder of each module that is linked but is not ours.
modules() {
	"$GO" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' "$@" | sort -u
}

# print NAME FOLDER
print() {
	for licence in "$2"/LICEN[CS]E* "$2"/COPYING* "$2"/NOTICE*; do
		[ -f "$licence" ] || continue
		printf '%s: %s\n\n' "$1" "${licence##*/}"
		cat "$licence"
		printf '\n----\n\n'
	done
}

modules "$@" | while read -r name folder; do print "$name" "$folder"; done
print Go "$("$GO" env GOROOT)"
