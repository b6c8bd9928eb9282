// Package house holds the rules of the tree as tests: which package may import
// which, what every package, file and dependency must have, and what may be
// nowhere. It has no code of its own. A rule that gets in the way is changed
// here, in the open, together with docs/ARCHITECTURE.md.
package house
