package operator

import (
	"bytes"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/metadata"
)

func TestStatusSaysOfWhatIsNotAppliedThatItIsNotInForce(t *testing.T) {
	t.Parallel()
	for applied, want := range map[bool]string{false: "in force  not yet: bound\n", true: "in force  bound\n"} {
		var out bytes.Buffer
		tool := &tool{stdout: &out}
		tool.printStatus(&agent.Report{InForce: &metadata.Binding{State: metadata.Bound}, Applied: applied, ThisBoot: true})
		if !strings.Contains(out.String(), want) {
			t.Errorf("applied %v: want %q in\n%s", applied, want, out.String())
		}
	}
}
