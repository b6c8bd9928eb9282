// Package metadata asks a cloud's metadata endpoint which public keys are bound to
// this instance, and answers with a Binding: bound to these keys, unbound, or unknown.
//
// The three are different things, and the package exists to keep them apart. Unbound is
// said only when the endpoint itself answers that no key is bound and, in the same fetch,
// names itself as this instance. Everything else that may come over a network at boot
// (silence, a 503, half a body, a captive portal, another instance's answer, a line that
// is more than one key) is unknown, with a reason that a person understands; whoever
// acts on a Binding leaves the instance as it is when it is unknown.
//
// The endpoint spoken is that of Alibaba Cloud ECS, in normal mode and in hardened mode
// (token), versions "latest" and "2016-01-01"; see "Instance metadata" in the ECS user
// guide. There are two extensions. ECS has no leaf meta-data/login-user; its absence means
// that the endpoint names no logon user. And an endpoint whose listing of keys has an ETag
// can be asked to wait for a change of it (Client.Watch), where ECS has to be polled.
package metadata
