package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var manDir = flag.String("man", "", "write the manual pages into this directory")

// TestManPages makes a manual page of each command, for packages: that needs no
// code in the binary.
func TestManPages(t *testing.T) {
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	}
	root := newRootCmd(newApp(io.Discard, io.Discard, os.Getenv))
	root.DisableAutoGenTag = true
	built := time.Now()
	header := doc.GenManHeader{Title: "QSUPER", Section: "1", Source: "qsuper", Manual: "qsuper", Date: &built}
	if err := doc.GenManTree(root, &header, dir); err != nil {
		t.Fatal(err)
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if !c.IsAvailableCommand() && c != root {
			return
		}
		page, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		if err != nil || !strings.Contains(string(page), ".SH SYNOPSIS") || !strings.Contains(string(page), c.Short) {
			t.Errorf("%s has no page that tells what it does (%v)", c.CommandPath(), err)
		}
		if c.Example == "" && c.Name() != "completion" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
}
