package systemd

import (
	"log/slog"
	"strings"
	"testing"
)

func TestWithoutAJournalAnEntryIsOneLineWithoutTheMessageID(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	slog.New(NewLogHandler(&out)).Info("bound", messageID, "0123456789abcdef", "user", "ecs-user")
	if got := out.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "0123456789abcdef") || !strings.Contains(got, "user=ecs-user") {
		t.Errorf("logged %q", got)
	}
}

// TestJournalFieldsAreOnesThatTheJournalTakes: systemd.journal-fields(7) allows
// upper case letters, digits and the underscore.
func TestJournalFieldsAreOnesThatTheJournalTakes(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"user": "LATCHKEY_USER", "instance_id": "LATCHKEY_INSTANCE_ID", "took-ns": "LATCHKEY_TOOK_NS",
		"a.b c": "LATCHKEY_A_B_C", "MESSAGE": "LATCHKEY_MESSAGE", messageID: messageID,
	} {
		if got := fieldName(key); got != want {
			t.Errorf("%q becomes %q, want %q", key, got, want)
		}
	}
}
