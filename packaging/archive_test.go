package packaging

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// contents is what a package has, read by other programs than the one that made
// it, where there are any.
type contents struct {
	files   map[string]string // path to mode, as fs.FileMode prints it
	owners  map[string]string // path to user and group
	data    map[string]string // path to what is in the file, but for an rpm
	config  []string          // paths of configuration, which an upgrade leaves alone
	scripts []string          // names of the maintainer scripts, sorted
}

func newContents() contents {
	return contents{files: map[string]string{}, owners: map[string]string{}, data: map[string]string{}}
}

// add adds an entry of a tar archive.
func (c *contents) add(t *testing.T, header *tar.Header, body io.Reader) {
	t.Helper()
	name := "/" + strings.Trim(strings.TrimPrefix(header.Name, "."), "/")
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	c.files[name] = header.FileInfo().Mode().String()
	c.owners[name] = header.Uname + " " + header.Gname
	if header.Uname == "" {
		c.owners[name] = strconv.Itoa(header.Uid) + " " + strconv.Itoa(header.Gid)
	}
	c.data[name] = string(data)
}

// each calls f for every entry of a tar archive.
func each(t *testing.T, archive io.Reader, f func(*tar.Header, io.Reader)) {
	t.Helper()
	reader := tar.NewReader(archive)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		f(header, reader)
	}
}

// output is what a program prints.
func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	command := exec.Command(testmachine.RequireProgram(t, name), args...)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, said.Bytes())
	}
	return out
}

func readDeb(t *testing.T, file string) contents {
	t.Helper()
	c := newContents()
	each(t, bytes.NewReader(output(t, "dpkg-deb", "--fsys-tarfile", file)), func(header *tar.Header, body io.Reader) {
		c.add(t, header, body)
	})
	each(t, bytes.NewReader(output(t, "dpkg-deb", "--ctrl-tarfile", file)), func(header *tar.Header, body io.Reader) {
		name := strings.TrimPrefix(header.Name, "./")
		switch name {
		case "control", "md5sums", ".", "":
		case "conffiles":
			data, _ := io.ReadAll(body)
			c.config = strings.Fields(string(data))
		default:
			c.scripts = append(c.scripts, name)
		}
	})
	slices.Sort(c.scripts)
	return c
}

// readRPM asks rpm(8), which checks the digests too.
func readRPM(t *testing.T, file string) contents {
	t.Helper()
	output(t, "rpm", "--checksig", "--nosignature", file)
	c := newContents()
	list := output(t, "rpm", "--query", "--package", "--nosignature",
		"--queryformat", `[%{FILENAMES}\t%{FILEMODES}\t%{FILEUSERNAME} %{FILEGROUPNAME}\t%{FILEFLAGS:fflags}\n]`, file)
	for line := range strings.Lines(string(list)) {
		field := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		mode, err := strconv.ParseUint(field[1], 10, 16)
		if err != nil || len(field) != 4 {
			t.Fatalf("rpm says %q (%v)", line, err)
		}
		header := tar.Header{Mode: int64(mode)}
		c.files[field[0]] = header.FileInfo().Mode().String()
		c.owners[field[0]] = field[2]
		if strings.Contains(field[3], "c") && strings.Contains(field[3], "n") { // %config(noreplace)
			c.config = append(c.config, field[0])
		}
	}
	for line := range strings.Lines(string(output(t, "rpm", "--query", "--package", "--nosignature", "--scripts", file))) {
		if name, _, is := strings.Cut(line, " scriptlet (using /bin/sh):"); is {
			c.scripts = append(c.scripts, name)
		}
	}
	slices.Sort(c.scripts)
	return c
}

// readAPK reads a package of Alpine: gzipped tar archives one after the other,
// all but the last without an end. What is for the package manager has a dot in front.
// Files below /etc count as configuration there; the programs in it do not.
func readAPK(t *testing.T, file string) contents {
	t.Helper()
	c := newContents()
	each(t, bytes.NewReader(output(t, "gzip", "-dc", file)), func(header *tar.Header, body io.Reader) {
		if !strings.HasPrefix(header.Name, ".") {
			c.add(t, header, body)
		} else if header.Name != ".PKGINFO" {
			c.scripts = append(c.scripts, header.Name)
		}
		if strings.HasPrefix(header.Name, "etc/") && header.FileInfo().Mode()&(fs.ModeDir|0o111) == 0 {
			c.config = append(c.config, "/"+header.Name)
		}
	})
	slices.Sort(c.scripts)
	return c
}
