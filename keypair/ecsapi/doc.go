// Package ecsapi is a region's key pairs as Alibaba Cloud ECS's API has them: version 2014-05-26, RPC
// style, JSON, with its names, its error codes and its signatures, so that the SDKs, the tools and the
// scripts made for ECS work with a region of one's own.
//
// A request goes one way: its parameters are read, who sends it is proved, the action is looked
// up, its arguments are read, the region is compared, and only then is anything done. So a
// request that is refused has changed nothing; what is refused, and how, is in docs/API.md.
//
// What the API does is package keypair's to decide. Here is only how it is said.
package ecsapi
