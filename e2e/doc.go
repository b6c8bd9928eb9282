// Package e2e tests latchkey as a person meets it: the built package on a Debian
// that boots, with systemd and its own sshd, and the metadata endpoint at its
// real address. It needs root, and the trees that `make images` makes.
//
// Each test has an instance and a cloud, which are two network namespaces with a
// cable between them. In the instance's a Debian boots; in the cloud's this
// process serves the endpoint, and people log in from there. None of it has a
// name or an address on the machine that the test runs on, so that nothing is
// left of it when the process is gone, however it ended.
package e2e
