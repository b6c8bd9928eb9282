package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/network"
)

// NetworkCommand makes a program the process that touches the network on behalf
// of another. Nobody types it.
func NetworkCommand() *cobra.Command {
	return NoArgs(&cobra.Command{
		Use:    network.Command,
		Short:  "Ask the network on behalf of the process at standard input",
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := network.ServeInherited(cmd.Context())
			if errors.Is(err, network.ErrNoSocket) {
				return UsageError{Err: err}
			}
			return err
		},
	})
}
