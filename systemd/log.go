package systemd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// messageID is the field by which journald's catalogue knows an entry
// (systemd.journal-fields(7)).
const messageID = "MESSAGE_ID"

// NewLogHandler logs to the journal where fallback is connected to it, each
// attribute a field of its own; else one line of text an entry to fallback.
func NewLogHandler(fallback io.Writer) slog.Handler {
	if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
		return &journalHandler{}
	}
	return slog.NewTextHandler(fallback, &slog.HandlerOptions{ReplaceAttr: withoutID})
}

// NewJournalHandler logs to the journal where there is one, and else nowhere: it
// is for programs whose standard error is a person's.
func NewJournalHandler() slog.Handler {
	if !journal.Enabled() {
		return slog.DiscardHandler
	}
	return &journalHandler{}
}

// withoutID leaves out what only the journal can use.
func withoutID(_ []string, attr slog.Attr) slog.Attr {
	if attr.Key == messageID {
		return slog.Attr{}
	}
	return attr
}

// journalHandler is a slog.Handler in front of sd_journal_sendv(3).
type journalHandler struct{ attrs []slog.Attr }

func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{append(append([]slog.Attr{}, h.attrs...), attrs...)}
}

func (h *journalHandler) WithGroup(string) slog.Handler { return h }

// Handle sends one entry. The message repeats the fields, since that is what
// journalctl shows.
func (h *journalHandler) Handle(_ context.Context, record slog.Record) error {
	fields := map[string]string{}
	var text strings.Builder
	text.WriteString(record.Message)
	add := func(attr slog.Attr) bool {
		value := attr.Value.String()
		if attr.Key != messageID {
			fmt.Fprintf(&text, " %s=%q", attr.Key, value)
		}
		fields[fieldName(attr.Key)] = value
		return true
	}
	for _, attr := range h.attrs {
		add(attr)
	}
	record.Attrs(add)
	return journal.Send(text.String(), priority(record.Level), fields)
}

// fieldName is a key as the name of a journal field. Ours get a prefix, so that
// no trusted or well-known field is shadowed.
func fieldName(key string) string {
	if key == messageID {
		return key
	}
	return "LATCHKEY_" + strings.Map(fieldRune, strings.ToUpper(key))
}

// fieldRune is r where a field's name may have it, else an underscore.
func fieldRune(r rune) rune {
	if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}

func priority(level slog.Level) journal.Priority {
	switch {
	case level >= slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	}
	return journal.PriInfo
}
