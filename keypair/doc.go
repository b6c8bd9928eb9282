// Package keypair is a region's key pairs as its operator sees them: named public keys,
// the instances they are bound to, and what a region tells those instances about it.
package keypair
