// Checks a whole log with the Go project's own libraries: signature, every entry, every tile that proofs take, and
// that it goes on from an earlier checkpoint.
//
//	verify_log FOLDER KEY [EARLIER-CHECKPOINT]
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
}

func checkpoint(path, key string) tlog.Tree {
	verifier, err := note.NewVerifier(key)
	must(err)
	bytes, err := os.ReadFile(path)
	must(err)
	opened, err := note.Open(bytes, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 3 || lines[0] != verifier.Name() {
		must(fmt.Errorf("the checkpoint is of another log"))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := tlog.ParseHash(lines[2])
	must(err)
	return tlog.Tree{N: size, Hash: root}
}

// The paths of C2SP tlog-tiles: those of Go's checksum database without the height, entries for data.
type folder string

func (f folder) path(tile tlog.Tile) string {
	path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
	return filepath.Join(string(f), strings.Replace(path, "tile/8/", "tile/", 1))
}

func (f folder) Height() int { return 8 }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) entries(size int64) [][]byte {
	var all [][]byte
	for n := int64(0); n*256 < size; n++ {
		width := size - n*256
		if width > 256 {
			width = 256
		}
		data, err := os.ReadFile(f.path(tlog.Tile{H: 8, L: -1, N: n, W: int(width)}))
		must(err)
		for len(data) > 0 {
			length := 0
			if len(data) >= 2 {
				length = int(data[0])<<8 | int(data[1])
			}
			if len(data) < 2+length {
				must(fmt.Errorf("bundle %d is cut off", n))
			}
			all = append(all, data[2:2+length])
			data = data[2+length:]
		}
	}
	return all
}

type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var all []tlog.Hash
	for _, index := range indexes {
		all = append(all, h[index])
	}
	return all, nil
}

func main() {
	dir, key := folder(os.Args[1]), strings.TrimSpace(os.Args[2])
	now := checkpoint(filepath.Join(string(dir), "checkpoint"), key)
	entries := dir.entries(now.N)
	if int64(len(entries)) != now.N {
		must(fmt.Errorf("%d entries, and the checkpoint says %d", len(entries), now.N))
	}

	var stored hashes
	for n, entry := range entries {
		more, err := tlog.StoredHashes(int64(n), entry, stored)
		must(err)
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(now.N, stored)
	must(err)
	if root != now.Hash {
		must(fmt.Errorf("the entries are not those that the checkpoint signs"))
	}

	tiles := tlog.TileHashReader(now, dir)
	for n := int64(0); n < now.N; n += 1 + now.N/50 {
		proof, err := tlog.ProveRecord(now.N, n, tiles)
		must(err)
		must(tlog.CheckRecord(proof, now.N, now.Hash, n, tlog.RecordHash(entries[n])))
	}

	if len(os.Args) > 3 {
		before := checkpoint(os.Args[3], key)
		if before.N > now.N {
			must(fmt.Errorf("the log had %d entries and shows %d", before.N, now.N))
		}
		proof, err := tlog.ProveTree(now.N, before.N, tiles)
		must(err)
		must(tlog.CheckTree(proof, now.N, now.Hash, before.N, before.Hash))
	}
	fmt.Printf("%d entries\n", now.N)
}
