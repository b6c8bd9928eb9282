// Command latchkeyd keeps an instance in the state that its key pair binding
// asks for.
package main

import (
	"os"

	"github.com/latchkey-ssh/latchkey/cmd/internal/latchkeyd"
)

func main() { os.Exit(latchkeyd.Run(os.Args[1:])) }
