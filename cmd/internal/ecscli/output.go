package ecscli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
)

// format is how an answer is shown.
type format string

const (
	asTable format = "table" // for people
	asJSON  format = "json"
	asNames format = "name" // names or ids alone, a line each
)

var formats = []string{string(asTable), string(asJSON), string(asNames)}

func (f *format) String() string { return string(*f) }

// Type is the kind of value, for help.
func (f *format) Type() string { return "form" }

// Set takes one of formats.
func (f *format) Set(text string) error {
	if !slices.Contains(formats, text) {
		return errors.New("want table, json or name")
	}
	*f = format(text)
	return nil
}

// output is standard output. It remembers when it could not be written, so that no single line has to be checked:
// what is asked for is done all the same, and the command fails in the end.
type output struct {
	to     io.Writer
	broken error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	o.broken = cmp.Or(o.broken, err)
	return n, err
}

// check puts in the place of success, and of a failure that was spoken of, that the answer was not written.
func (o *output) check(err error) error {
	if o.broken != nil && (err == nil || errors.As(err, new(cli.ExitError))) {
		return o.broken
	}
	return err
}

// listing is one answer in each form.
type listing struct {
	value  any      // as JSON
	names  []string // as names
	header []string
	rows   [][]string
}

func (d *desk) show(l listing) error {
	switch d.format {
	case asJSON:
		return d.printJSON(l.value)
	case asNames:
		for _, one := range l.names {
			fmt.Fprintln(d.stdout, cli.Plain(one))
		}
		return nil
	}
	w := tabwriter.NewWriter(d.stdout, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{l.header}, l.rows...) {
		for i, cell := range row {
			row[i] = cli.Plain(cell)
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return w.Flush()
}

// card shows one thing, a line for each of its sides that has something to say.
func (d *desk) card(rows [][2]string) error {
	w := tabwriter.NewWriter(d.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], cli.Plain(row[1]))
		}
	}
	return w.Flush()
}

func (d *desk) printJSON(v any) error { return cli.PrintJSON(d.stdout, v) }

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// minute is a time as ECS shows it, for tables.
func minute(at time.Time) string { return timeText(at, "2006-01-02T15:04Z") }

// timestamp is a time in the form of RFC 3339, with seconds, which programs read.
func timestamp(at time.Time) string { return timeText(at, time.RFC3339) }

// timeText is a time in UTC, "" for none.
func timeText(at time.Time, layout string) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(layout)
}

// terminal is the file behind a stream, if it is a terminal.
func terminal(stream any) (*os.File, bool) {
	file, ok := stream.(*os.File)
	return file, ok && term.IsTerminal(int(file.Fd()))
}

// progress shows on a terminal what is waited for; what it returns takes that away again.
func (d *desk) progress(what string) (done func()) {
	file, ok := terminal(d.stderr)
	if !ok {
		return func() {}
	}
	fmt.Fprintf(file, "\r\x1b[K%s ...", what)
	return func() { _, _ = io.WriteString(file, "\r\x1b[K") }
}
