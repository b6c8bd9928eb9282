// Package manage is how a region's operator tells the running region what the cloud's own
// machinery tells a cloud: that an instance is there or gone, who may call the API, and, for
// tests, how the metadata endpoint is to go wrong. It is HTTP with JSON on a Unix socket whose
// mode decides who may do so.
//
//	GET    /instances                      the instances, with what their metadata endpoints do wrong
//	POST   /instances                      registers one (keypair.Instance)
//	PUT    /instances/ID                   replaces all but binding and status
//	DELETE /instances/ID                   removes one
//	PUT    /instances/ID/status            {"status": "Stopped"}
//	PUT    /instances/ID/misbehaviour      {"kind": "timeout", "on": ["/public-keys"]}
//	GET    /access-keys                    the access keys, without their secrets
//	POST   /access-keys                    makes one ({"comment": "…"}); the answer has the secret
//	PUT    /access-keys/ID                 {"disabled": true}
//	DELETE /access-keys/ID                 removes one
//	GET    /resource-groups                the resource groups
//	POST   /resource-groups                adds or renames one (keypair.ResourceGroup)
//	DELETE /resource-groups/ID             removes one in which no key pair is
//
// What is refused is answered with 400, 404 or 409 and {"error": "…"}.
package manage
