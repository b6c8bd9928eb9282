// Package version is the version of latchkey's programs, as they say it of themselves.
package version

import "runtime/debug"

// release is the version of the packages, which the linker sets (-X).
var release string

// String is the packages' version, else the module's, or the commit that the program was built from.
func String() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return "devel-" + setting.Value[:min(12, len(setting.Value))]
		}
	}
	return "devel"
}
