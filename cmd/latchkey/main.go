// Command latchkey shows and applies the key pair that is bound to an instance.
package main

import (
	"os"

	"github.com/latchkey-ssh/latchkey/cmd/internal/operator"
)

func main() { os.Exit(operator.Run(os.Args[1:])) }
