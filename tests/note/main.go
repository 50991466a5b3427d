// Checks a bundle of evidence with Go's implementation of signed notes and of Merkle trees: that the
// key signed the checkpoint, and that each leaf is in the tree that it signs.
//
//	note KEY BUNDLE
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type bundle struct {
	Checkpoint string
	Leaves     []struct {
		Number    int64
		Statement string
		Proof     []string
	}
}

func main() {
	if err := check(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func check(key, path string) error {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var bundle bundle
	if err := json.Unmarshal(text, &bundle); err != nil {
		return err
	}
	opened, err := note.Open([]byte(bundle.Checkpoint), note.VerifierList(verifier))
	if err != nil {
		return err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return fmt.Errorf("%q is no checkpoint of %s", opened.Text, verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return err
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return err
	}
	for _, leaf := range bundle.Leaves {
		var proof tlog.RecordProof
		for _, hash := range leaf.Proof {
			bytes, err := base64.StdEncoding.DecodeString(hash)
			if err != nil || len(bytes) != tlog.HashSize {
				return fmt.Errorf("%q is no hash", hash)
			}
			proof = append(proof, tlog.Hash(bytes))
		}
		hash := tlog.RecordHash([]byte(leaf.Statement))
		if err := tlog.CheckRecord(proof, size, root, leaf.Number, hash); err != nil {
			return fmt.Errorf("leaf %d: %w", leaf.Number, err)
		}
	}
	fmt.Printf("%d leaves of %d, signed by %s\n", len(bundle.Leaves), size, verifier.Name())
	return nil
}
