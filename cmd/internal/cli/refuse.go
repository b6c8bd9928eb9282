package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// RefuseFlags takes the place, in a command and all below it, of flags that other commands of the program have: given
// there, each is wrong usage, for this reason.
func RefuseFlags(cmd *cobra.Command, why string, names ...string) {
	for _, name := range names {
		cmd.PersistentFlags().Var(refused(why), name, "")
		_ = cmd.PersistentFlags().MarkHidden(name)
	}
}

// refused is a flag that makes no sense here, and why.
type refused string

func (refused) String() string     { return "" }
func (refused) Type() string       { return "string" }
func (r refused) Set(string) error { return errors.New(string(r)) }
