// reader is the least that a program in Go does that reads a file and prints
// it, for the benchmark to compare with.
package main

import "os"

func main() {
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(data)
}
