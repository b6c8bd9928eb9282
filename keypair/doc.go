// Package keypair is a region's key pairs as its operator sees them: named public keys,
// the instances they are bound to, and who may ask for changes.
//
// A [Region] holds the rules: what a key pair may be called, how many there may be, that an
// instance has one at most and that the last one bound wins. It knows nothing of a wire:
// package ecsapi speaks ECS's API for it, package imds tells the instances. What it holds
// is in a [Store]; each operation is one transaction there, so that it is done as a whole or
// not at all, whatever happens in between.
//
// Sources: the ECS user guide, "SSH key pairs", and the API reference of version
// 2014-05-26.
package keypair
