// Package imds is the metadata endpoint of one instance, wire-compatible with that of
// Alibaba Cloud ECS ("Instance metadata" in the ECS user guide): the trees "latest" and
// "2016-01-01", normal mode and hardened mode, and the key pair bound to the instance.
//
// An Endpoint is an http.Handler whose instance can be changed at any moment, which is how
// a binding reaches the instance. It also misbehaves on demand, in the ways networks and
// endpoints really do, so that clients can be tested against them.
package imds
