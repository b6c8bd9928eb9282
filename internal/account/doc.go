// Package account reads the local accounts of an instance from its files:
// passwd(5), group(5) and shadow(5) below a root folder.
//
// It asks no name service. The logon user of a cloud instance is a local
// account, the root may be an image that is not running, and a static program
// has no glibc to ask. Lines are taken and passed over as glibc's "files"
// service does.
//
// Besides looking an account up it tells the facts about it that keep any
// login from working, whatever key is presented: see [Account.Problems].
// A password hash is looked at and forgotten: no value of this package holds one.
package account
