// Package sdktest has the official SDKs of ECS, unmodified, judge keypaird: what they make
// of its answers is what counts. It is a module of its own, so that what they bring along stays out
// of the product's. `go test ./...` here builds keypaird from the tree around it, and runs the SDK for Go as well as
// that for Node (the folder node), which needs node and npm.
//
// With KEYPAIRD set to a program, that one is tested instead.
package sdktest
