package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkKeysBuild is `latchkey keys build` with a million lines, a process of its own: of one user in one file, as
// on a Git host, and in a folder of a file for each user, as on a bastion.
func BenchmarkKeysBuild(b *testing.B) {
	program := buildProgram(b, "../cmd/latchkey")
	l, err := startLauncher(b, buildProgram(b, "./testdata/launcher"))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("file", func(b *testing.B) {
		file := filepath.Join(b.TempDir(), "keys")
		writeLines(b, file, 0, million)
		benchmarkBuild(b, l, program, keysUser+"="+file)
	})
	b.Run("folder", func(b *testing.B) {
		folder := b.TempDir()
		writeUsers(b, folder, 100_000, 10)
		benchmarkBuild(b, l, program, folder)
	})
}

// buildRounds is how often an index is built, in place of the last.
const buildRounds = 3

func benchmarkBuild(b *testing.B, l *launcher, program, source string) {
	b.Helper()
	out := filepath.Join(b.TempDir(), "users.index")
	var took, cpu []time.Duration
	peakKB := 0
	for b.Loop() {
		for range buildRounds {
			r, err := l.run("", []string{program, "keys", "build", "--quiet", "--out", out, source})
			if err != nil {
				b.Fatal(err)
			}
			took, cpu, peakKB = append(took, r.took), append(cpu, r.cpu), max(peakKB, r.peakKB)
		}
	}
	info, err := os.Stat(out)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(percentile(took, 50).Seconds(), "s-p50/million")
	b.ReportMetric(3, "goal-s-p50/million")
	b.ReportMetric(percentile(cpu, 50).Seconds(), "s-CPU-p50/million")
	b.ReportMetric(float64(peakKB)/1000, "MB-peak-RSS")
	b.ReportMetric(200, "goal-MB-peak-RSS")
	b.ReportMetric(float64(info.Size())/million, "bytes/line")
	b.Log("limit: reading and checking each line; of a folder, opening each file; fsync of the index. s-CPU is the time on all processors, which other work on the machine changes little")
}

// writeUsers fills a folder with a keys file for each of so many users.
func writeUsers(b *testing.B, folder string, users, each int) {
	b.Helper()
	for n := range users {
		writeLines(b, filepath.Join(folder, fmt.Sprintf("user%06d", n)), n*each, (n+1)*each)
	}
}
