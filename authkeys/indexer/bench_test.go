package indexer_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// writeLines writes a file of so many lines with different keys.
func writeLines(t testing.TB, count int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "lines")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := testmachine.WriteKeyLines(file, count); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// BenchmarkMatch opens an index and looks one key up, each time another.
func BenchmarkMatch(b *testing.B) {
	for _, count := range []int{1, 1000, 1_000_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			path := filepath.Join(newFolder(b), "users.index")
			if _, _, err := build(b, path, indexer.Source{User: "git", Path: writeLines(b, count)}); err != nil {
				b.Fatal(err)
			}
			wanted := make([]string, 1000)
			for i := range wanted {
				wanted[i] = key(i * 7919 % count)
			}
			for i := 0; b.Loop(); i++ {
				x, err := index.Open(path, os.Getuid(), filepath.Dir(path))
				if err != nil {
					b.Fatal(err)
				}
				if got, err := matched(x, "git", plain, wanted[i%len(wanted)]); err != nil || len(got) != 1 {
					b.Fatalf("%q, %v", got, err)
				}
				x.Close()
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	const count = 1_000_000
	in, out := writeLines(b, count), filepath.Join(newFolder(b), "users.index")
	for b.Loop() {
		if _, _, err := build(b, out, indexer.Source{User: "git", Path: in}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*count)/b.Elapsed().Seconds(), "lines/s")
}

func BenchmarkCheck(b *testing.B) {
	path := filepath.Join(newFolder(b), "users.index")
	if _, _, err := build(b, path, indexer.Source{User: "git", Path: writeLines(b, 1_000_000)}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := indexer.Check(context.Background(), path); err != nil {
			b.Fatal(err)
		}
	}
}
