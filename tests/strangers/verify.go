// Verifies a log of Sealgate with Go's checksum-database code alone (golang.org/x/mod/sumdb): the signed checkpoint,
// every tile against the root, every entry against its leaf, inclusion of each entry, consistency with every earlier
// size.
//
//	verify LOG-FOLDER VERIFIER-KEY
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8
const width = 1 << height

// Sizes for which every proof is made; a larger log is sampled, since the proofs are quadratic.
const everyProof = 300

// folder reads tiles as C2SP tlog-tiles lays them out; Go's own paths carry the height first.
type folder string

func (f folder) Height() int { return height }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, 0, len(tiles))
	for _, tile := range tiles {
		bytes, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		data = append(data, bytes)
	}
	return data, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) path(tile tlog.Tile) string {
	level := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/data/", height), "tile/entries/", 1)
	level = strings.Replace(level, fmt.Sprintf("tile/%d/", height), "tile/", 1)
	return filepath.Join(string(f), filepath.FromSlash(level))
}

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: verify LOG-FOLDER VERIFIER-KEY"))
	}
	size, err := verify(folder(os.Args[1]), os.Args[2])
	if err != nil {
		fail(err)
	}
	fmt.Printf("golang.org/x/mod/sumdb: %d entries verify\n", size)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "golang.org/x/mod/sumdb:", err)
	os.Exit(1)
}

func verify(log folder, key string) (int64, error) {
	tree, err := openCheckpoint(log, key)
	if err != nil {
		return 0, err
	}
	if tree.N == 0 {
		return 0, fmt.Errorf("the log is empty: nothing would be verified")
	}
	// Every hash that this reader gives was authenticated against the signed root.
	reader := tlog.TileHashReader(tree, log)
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return 0, err
	}
	if root != tree.Hash {
		return 0, fmt.Errorf("the tiles lead to another root than the signed one")
	}
	entries, err := readEntries(log, tree.N)
	if err != nil {
		return 0, err
	}
	for index, entry := range entries {
		leaf := tlog.RecordHash(entry)
		stored, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
		if err != nil {
			return 0, err
		}
		if stored[0] != leaf {
			return 0, fmt.Errorf("entry %d is not what was logged", index)
		}
	}
	return tree.N, checkProofs(tree, entries, reader)
}

func openCheckpoint(log folder, key string) (tlog.Tree, error) {
	text, err := os.ReadFile(filepath.Join(string(log), "checkpoint"))
	if err != nil {
		return tlog.Tree{}, err
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tlog.Tree{}, err
	}
	signed, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	// Go's tree note has a first line of its own; size and root are the second and third line in both.
	lines := strings.SplitN(signed.Text, "\n", 2)
	if len(lines) != 2 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is of another log")
	}
	return tlog.ParseTree([]byte("go.sum database tree\n" + lines[1]))
}

// readEntries reads every entry bundle: each entry with its length as 16 bits, big endian.
func readEntries(log folder, size int64) ([][]byte, error) {
	var entries [][]byte
	for first := int64(0); first < size; first += width {
		count := size - first
		if count > width {
			count = width
		}
		tile := tlog.Tile{H: height, L: -1, N: first / width, W: int(count)}
		bundle, err := os.ReadFile(log.path(tile))
		if err != nil {
			return nil, err
		}
		for i := int64(0); i < count; i++ {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return nil, fmt.Errorf("the bundle of entry %d is cut off", first+i)
			}
			length := int(binary.BigEndian.Uint16(bundle))
			entries = append(entries, append([]byte(nil), bundle[2:2+length]...))
			bundle = bundle[2+length:]
		}
		if len(bundle) != 0 {
			return nil, fmt.Errorf("the bundle of entry %d holds more than its entries", first)
		}
	}
	return entries, nil
}

func checkProofs(tree tlog.Tree, entries [][]byte, reader tlog.HashReader) error {
	step := int64(1)
	if tree.N > everyProof {
		step = tree.N / everyProof
	}
	for n := int64(0); n < tree.N; n += step {
		inclusion, err := tlog.ProveRecord(tree.N, n, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(inclusion, tree.N, tree.Hash, n, tlog.RecordHash(entries[n])); err != nil {
			return fmt.Errorf("entry %d is not included: %w", n, err)
		}
		earlier, err := tlog.TreeHash(n+1, reader)
		if err != nil {
			return err
		}
		consistency, err := tlog.ProveTree(tree.N, n+1, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(consistency, tree.N, tree.Hash, n+1, earlier); err != nil {
			return fmt.Errorf("the log does not continue its first %d entries: %w", n+1, err)
		}
	}
	return nil
}
