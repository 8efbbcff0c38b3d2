// Checks facts about rights against the state root that verify.go has seen in the log. Nothing but the standard library.
//
//	go run verify_facts.go event.record facts
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

func fail(why ...interface{}) {
	fmt.Fprintln(os.Stderr, append([]interface{}{"the proof does not hold:"}, why...)...)
	os.Exit(1)
}

func read(path string) string {
	bytes, err := os.ReadFile(path)
	if err != nil {
		fail(err)
	}
	return string(bytes)
}

func sum(parts ...[]byte) []byte {
	hash := sha256.Sum256(bytes.Join(parts, nil))
	return hash[:]
}

func decoded(text string) []byte {
	bytes, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(bytes) != 32 {
		fail("a hash can't be read")
	}
	return bytes
}

func check(block string, root []byte) {
	lines := strings.Split(block, "\n")
	if len(lines) < 3 || !strings.HasPrefix(lines[0], "fact ") {
		fail("a fact can't be read")
	}
	fact, value, path, end := lines[0][5:], lines[1], lines[2:len(lines)-1], strings.TrimPrefix(lines[len(lines)-1], "end ")
	place := sum([]byte("mcpctl fact v1\n"), []byte(fact))
	node, here, held := make([]byte, 32), false, []byte(nil)
	if end != "nothing" {
		leaf := strings.Split(end, " ")
		if len(leaf) != 2 {
			fail("an end can't be read")
		}
		there := decoded(leaf[0])
		held = decoded(leaf[1])
		for depth := range path {
			if (there[depth/8]^place[depth/8])>>(7-depth%8)&1 == 1 {
				fail("a leaf stands where it does not belong")
			}
		}
		node, here = sum([]byte{0}, there, held), bytes.Equal(there, place)
	}
	for depth := len(path) - 1; depth >= 0; depth-- {
		beside := decoded(strings.TrimPrefix(path[depth], "beside "))
		if place[depth/8]>>(7-depth%8)&1 == 1 {
			node = sum([]byte{1}, beside, node)
		} else {
			node = sum([]byte{1}, node, beside)
		}
	}
	if !bytes.Equal(node, root) {
		fail("the path of", fact, "does not lead to the root")
	}
	if value == "absent" {
		if here {
			fail(fact, "holds")
		}
		fmt.Println("absent:", fact)
		return
	}
	value = strings.TrimPrefix(value, "value ")
	if !here || !bytes.Equal(held, sum([]byte(value))) {
		fail(fact, "does not hold with that value")
	}
	fmt.Println("holds:", fact, "=", value)
}

func main() {
	record := strings.Split(read(os.Args[1]), "\n")
	if len(record) < 5 || record[0] != "mcpctl state root v1" || !strings.HasPrefix(record[4], "root ") {
		fail("this is not a state root")
	}
	facts := strings.Split(strings.TrimRight(read(os.Args[2]), "\n"), "\n\n")
	if facts[0] != "mcpctl facts v1" || len(facts) < 2 {
		fail("this is not a file of facts")
	}
	for _, block := range facts[1:] {
		check(block, decoded(record[4][5:]))
	}
}
