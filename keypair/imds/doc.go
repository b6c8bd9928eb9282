// Package imds is the metadata endpoint of a region's instances, wire-compatible with that
// of Alibaba Cloud ECS ("Instance metadata" in the ECS user guide): the trees "latest" and
// "2016-01-01", normal mode and hardened mode, and the key pair bound to an instance.
//
// An Endpoint speaks for one instance, which can be changed at any moment; that is how a
// binding reaches it. A Service has many and tells them apart by the address that a request
// comes from. Both are http.Handlers.
//
// Whoever wants to know of a binding at once holds a request: a watch, in the form of Google
// Compute Engine's metadata server. Ten thousand may be held, since one that waits is no
// more than a connection: no goroutine, no buffers, see parked.
//
// Their http.Server should have all its limits of time (ReadTimeout, WriteTimeout, IdleTimeout): they
// keep clients that neither send nor read from holding connections, and end no watch.
//
// An Endpoint also misbehaves on demand, in the ways networks and endpoints really do, so
// that clients can be tested against it.
package imds
