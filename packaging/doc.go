// Package packaging holds what latchkey's packages are made of, and the tests of
// them; it has no code of its own. install.sh is the one list of files: `make
// install` runs it, and package.sh makes each package, as nfpm.yaml describes
// it, of what it installs.
package packaging
