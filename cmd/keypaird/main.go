// Command keypaird is a region of key pairs: their API, and the metadata endpoint of the
// instances they are bound to.
package main

import (
	"os"

	"github.com/latchkey-ssh/latchkey/cmd/internal/keypaird"
)

func main() { os.Exit(keypaird.Run(os.Args[1:])) }
