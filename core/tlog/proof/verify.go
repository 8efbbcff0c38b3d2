// Checks that an event is in a log, with the Go project's own libraries.
//
//	go run verify.go event.record event.tlog-proof KEY
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func fail(why ...interface{}) {
	fmt.Fprintln(os.Stderr, append([]interface{}{"the proof does not hold:"}, why...)...)
	os.Exit(1)
}

func read(path string) []byte {
	bytes, err := os.ReadFile(path)
	if err != nil {
		fail(err)
	}
	return bytes
}

func main() {
	event, proof, key := read(os.Args[1]), string(read(os.Args[2])), strings.TrimSpace(os.Args[3])
	head, signed, found := strings.Cut(proof, "\n\n")
	lines := strings.Split(head, "\n")
	if !found || lines[0] != "c2sp.org/tlog-proof@v1" || len(lines) < 2 {
		fail("this is not a tlog-proof@v1")
	}
	if strings.HasPrefix(lines[1], "extra ") {
		lines = lines[1:]
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		fail(err)
	}
	var path tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			fail(err)
		}
		path = append(path, hash)
	}

	verifier, err := note.NewVerifier(key)
	if err != nil {
		fail(err)
	}
	opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		fail(err)
	}
	said := strings.Split(opened.Text, "\n")
	if len(said) < 3 || said[0] != verifier.Name() {
		fail("the checkpoint is of another log")
	}
	size, err := strconv.ParseInt(said[1], 10, 64)
	if err != nil {
		fail(err)
	}
	root, err := tlog.ParseHash(said[2])
	if err != nil {
		fail(err)
	}
	if err := tlog.CheckRecord(path, size, root, index, tlog.RecordHash(event)); err != nil {
		fail(err)
	}
	fmt.Printf("entry %d is in the log %s of %d entries\n", index, said[0], size)
}
